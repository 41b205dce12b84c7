"""Whether records are keyed as ``kafka.event_key`` says (design section 7).

Deduplication is right only if all events of one dedup key meet in one task. They may not meet if records have no key,
or another key: then one problem arrives in several partitions, and is told once in each.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consumer.events.event import SecurityEvent
from consumer.events.keys import value_of


@dataclass(frozen=True, slots=True)
class UnexpectedKey:
    """A record's key is ``found`` (None: no key), and should be ``expected`` (None: the event lacks the field)."""

    found: bytes | None
    expected: str | None


class RecordKey:
    """The key that records must have: the value of the event's ``field``, as plain text or as a JSON string."""

    def __init__(self, field: str) -> None:
        self.field = field
        self._value_of: Callable[[SecurityEvent], str | None] = value_of(field)

    def check(self, event: SecurityEvent, key: bytes | None) -> UnexpectedKey | None:
        """What is wrong with the key of this event's record; None if nothing is, or if the event lacks the field."""
        expected = self._value_of(event)
        if key is None:
            return UnexpectedKey(None, expected or None)
        if not expected:
            return None
        text = expected.encode()
        return None if key == text or key == b'"%b"' % text else UnexpectedKey(key, expected)
