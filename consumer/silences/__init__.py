"""Silences: what operators have decided not to be paged about for a while (design section 22)."""
