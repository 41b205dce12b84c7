"""Alerts: their transitions, the store of one task, and their records in Kafka."""
