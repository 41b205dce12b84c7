"""Which task may send for a key, after keys have moved to other partitions (design section 17)."""

from typing import Protocol

from state.alert import Alert


class Voice(Protocol):
    """Which task may send for a key, after keys have moved to other partitions: `consumer.tasks.homes.moving` knows."""

    @property
    def is_settled(self) -> bool:
        """Whether every alert has arrived that other tasks have to hand over to this one."""
        ...

    def is_elsewhere(self, alert: Alert) -> bool:
        """Whether another task owns this alert now: then this one sends nothing."""
        ...

    def awaits(self, alert: Alert) -> bool:
        """Whether another task may still own this alert: then its first trigger waits, and so does a repeated one."""
        ...

    @property
    def awaits_since(self) -> float | None:
        """Since when this task waits for others, by the monotonic clock, whichever alert it is; None: since each alert
        came."""
        ...


class TheOnlyVoice:
    """The answers while no key has ever moved to another partition."""

    is_settled = True
    awaits_since = None

    def is_elsewhere(self, alert: Alert) -> bool:
        """No: this task owns it."""
        return False

    def awaits(self, alert: Alert) -> bool:
        """No: no other task may own it."""
        return False
