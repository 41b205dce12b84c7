"""A provider that is no part of the service: what a new one takes, a folder such as this and a line in the table."""
