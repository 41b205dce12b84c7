"""What an event is: from a record to a decision's facts, and which events are the same problem."""
