"""Delivery: from what tasks owe to what the provider has answered (design section 13)."""
