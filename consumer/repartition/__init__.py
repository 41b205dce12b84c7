"""The stage that forwards events to the partition of their dedup key, where the record key is another."""
