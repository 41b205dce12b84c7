"""Dead letters: the record, and what writes it."""
