"""What is known of alerts: their life, the store of one task, and their records in Kafka."""
