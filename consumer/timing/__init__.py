"""Time as a task sees it: the clocks, turns on the event loop, and waiting for something no longer than needed."""
