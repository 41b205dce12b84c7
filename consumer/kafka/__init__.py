"""Kafka's clients and topics, and what is asked of a broker. Nothing here knows of alerts."""
