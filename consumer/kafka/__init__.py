"""Kafka: clients, topics, offsets, transactions and reading. Nothing is decided here."""
