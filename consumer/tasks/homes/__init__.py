"""Which partition a key belongs to, and how its alerts move when that changes (design section 17)."""
