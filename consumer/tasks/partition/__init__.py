"""The task of one partition: ownership, restore, deciding, checkpoints."""
