"""The times of one pipeline by which its alerts are told, told again and forgotten (design section 8)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The times of one pipeline: the configuration's ``deduplication``, ``auto_resolve`` and ``forget_after``.

    All are in seconds. ``quiet_seconds`` is None where no alert is resolved by quiet.
    """

    window_seconds: float
    renotify_seconds: float
    quiet_seconds: float | None
    forget_seconds: float
