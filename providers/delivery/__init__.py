"""Delivery of the tasks' owed notifications to a provider (design section 13)."""
