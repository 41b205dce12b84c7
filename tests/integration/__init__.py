"""Tests against a real broker: see `tests.support.broker` for which one."""
