"""The marker by which the chaos suite is left out: `pytest -m "not chaos"`."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "chaos: minutes of faults against real processes; left out by -m 'not chaos'")
