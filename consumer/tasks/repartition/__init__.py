"""The stage that forwards events to the partition of their dedup key, where the input is keyed by another field."""
