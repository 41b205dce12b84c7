"""What tests share: brokers, Kafka in a few words, a proxy that cuts connections, a member in a process of its own."""
