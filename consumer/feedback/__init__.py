"""The feedback topic: its records, and the member's reader of it."""
