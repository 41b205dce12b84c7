"""What a record of the input comes to: a union of small values, which is matched where it is applied.

A record that concerns nobody comes to None, as most do. What comes to the same again and again is one value.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from msgspec import Struct

from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import SecurityEvent
from consumer.events.record_key import UnexpectedKey
from state.alert import Alert
from state.occurrences import Outcome
from state.remembered_ends import End
from state.violation import Record


class _Decided(Struct, frozen=True, gc=False):
    """``unexpected_key`` says what is wrong with the key of the record (None: nothing, or nobody asks). ``change`` is
    the event, if it is allowed and told as a change, whatever else it came to."""

    unexpected_key: UnexpectedKey | None = None
    change: SecurityEvent | None = None


class Triggered(_Decided, frozen=True, gc=False, kw_only=True):
    """``alert``, as it is now in the store, owes a trigger because of the event.

    ``event`` is the event if its record is what is owed, else None. ``comes_back``: the alert was over, and is not.
    """

    outcome: ClassVar[Outcome] = Outcome.TRIGGERED
    alert: Alert
    event: SecurityEvent | None = None
    comes_back: bool = False


class Counted(_Decided, frozen=True, gc=False, kw_only=True):
    """The event was counted into what ``alert`` owes already.

    ``event`` is the event if its record is what is owed from now on, else None. ``comes_back``: the alert was over
    before it was told, and is not. ``is_over``: the end of its threat was heard of before the event, and the alert is
    over by it; it may owe no trigger then.
    """

    outcome: ClassVar[Outcome] = Outcome.COUNTED
    alert: Alert
    event: SecurityEvent | None = None
    comes_back: bool = False
    is_over: bool = False


class Suppressed(_Decided, frozen=True, gc=False, kw_only=True):
    """The event was counted into an alert that the provider has."""

    outcome: ClassVar[Outcome] = Outcome.SUPPRESSED


class Silenced(_Decided, frozen=True, gc=False, kw_only=True):
    """The event is kept silent by the silences of these ids. ``alert`` is as it is now in the store.

    ``news`` are those of them that have held nothing of the alert before. ``is_over``: an end of the problem that was
    told of before it came later than the event.
    """

    outcome: ClassVar[Outcome] = Outcome.SILENCED
    alert: Alert
    silences: tuple[str, ...]
    news: tuple[str, ...] = ()
    is_over: bool = False


class Ended(_Decided, frozen=True, gc=False, kw_only=True):
    """The threat of these alerts is over, by the ``end`` that the event tells of.

    There can be very many, so whoever applies it ends them bit by bit; not each of these keys has an alert.
    """

    dedup_keys: Sequence[str]
    end: End


class DeadLettered(_Decided, frozen=True, gc=False, kw_only=True):
    """The record cannot be decided, or not any more."""

    dead_letter: DeadLetter


class BelongsElsewhere(_Decided, frozen=True, gc=False, kw_only=True):
    """Another task is to decide the record, which has its home by ``home_key``."""

    record: Record
    home_key: bytes | None


class Emptied(_Decided, frozen=True, gc=False, kw_only=True):
    """The record has no value."""


class Changed(_Decided, frozen=True, gc=False, kw_only=True):
    """The event is told as a change, and concerns no alert."""


SUPPRESSED: Final = Suppressed()
EMPTIED: Final = Emptied()

Occurred = Triggered | Counted | Suppressed | Silenced
"""What an alertable event comes to."""

DecidedHere = Occurred | Ended | DeadLettered
"""What a record comes to that was forwarded to the task, or is of an input that the pipeline had before."""

Replayed = Occurred | DeadLettered | BelongsElsewhere
"""What a dead letter comes to that is decided again."""

Decision = Occurred | Ended | DeadLettered | BelongsElsewhere | Emptied | Changed
"""What a record of the input comes to."""
