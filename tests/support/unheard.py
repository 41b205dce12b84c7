"""A log and metrics that nobody reads."""

from collections.abc import Callable
from typing import Any


class FaultLog:
    """A log in which only faults of the program are of interest, and what is out of reach."""

    def __init__(self, fault: Callable[[str, str], None], left_behind: Callable[[str], None]) -> None:
        self._fault = fault
        self._left_behind = left_behind

    def error(self, name: str, *, exc_info: Exception | None = None, **fields: Any) -> None:
        if exc_info is not None:
            self._fault("a fault", f"{name}: {exc_info!r}")

    def warning(self, name: str, **fields: Any) -> None:
        if name == "orphan_left_behind":
            self._left_behind(fields["dedup_key"])

    def info(self, name: str, **fields: Any) -> None:
        pass

    debug = info


class Unheard:
    """Metrics that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **fields: None
