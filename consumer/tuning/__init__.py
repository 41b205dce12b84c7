"""What may be asked of the decisions: why one is as it is, and what others would have been (design section 23)."""
