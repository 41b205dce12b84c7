"""Everything on this machine: the embedded broker, realistic traffic, the live table."""
