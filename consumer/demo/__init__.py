"""The demo, all on this machine: the embedded broker, realistic traffic, the live table, the check."""
