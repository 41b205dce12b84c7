"""Events: decoding records, filters, and the dedup keys by which events are the same problem."""
