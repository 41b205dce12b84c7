"""The tasks: everything for one partition of a pipeline, or of the stage before it."""
