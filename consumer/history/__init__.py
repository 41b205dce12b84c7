"""The steps of each alert's life, written in the transaction of the change (design section 21)."""
