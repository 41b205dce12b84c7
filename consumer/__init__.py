"""Kafka in, decisions, Kafka out: the service itself, its configuration and its command line."""
