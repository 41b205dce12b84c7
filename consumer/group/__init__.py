"""This process as a member of a consumer group: assignment, fetching, supervision, the heartbeat's owner."""
