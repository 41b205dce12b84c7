"""The service itself, its configuration and its command line: reads Kafka, decides, delivers, writes Kafka."""
