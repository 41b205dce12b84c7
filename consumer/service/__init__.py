"""The service as one process: all pipelines, from the configuration to SIGTERM."""
