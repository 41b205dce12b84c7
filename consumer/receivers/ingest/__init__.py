"""Takes events over HTTP: events that are posted here become records of the events topic (design section 19)."""
