"""What comes in over HTTP to be written to Kafka: events (ingest), and what people do at a provider (webhooks)."""
