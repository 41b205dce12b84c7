"""The service as a whole, seen from outside: what ``status`` shows, and how far operators' commands have come."""
