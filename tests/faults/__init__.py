"""The service as processes, with faults: killed, frozen, cut off, with brokers that go and providers that fail."""
