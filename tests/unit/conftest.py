"""What every unit test ends with."""

from collections.abc import Iterator

import pytest

from tests.support.delivery_setting import Setting


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Ends the settings that a test has begun."""
    yield
    for setting in Setting.made:
        setting.crash()
    Setting.made.clear()
