"""What comes in over HTTP to be written to Kafka: who is there, who may, how much, and whether Kafka has it."""
