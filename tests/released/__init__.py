"""What earlier releases make of a state topic: their own source, word for word but for where it is imported from."""
