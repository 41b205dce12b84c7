"""What an event comes to: its way from a record to a decision, without any I/O."""
