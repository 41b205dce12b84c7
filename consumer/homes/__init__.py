"""Which partition a key belongs to, and how its alerts move when partitions are added (design section 17)."""
