"""Dead letters: their record, and the code that writes it."""
