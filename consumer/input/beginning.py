"""Where a task begins (design section 17). Pure.

`beginning` goes by the anchors of the checkpoint, which say whether this is the log that was decided; `judge` by the
offset that the group has, which can be somebody else's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import Whose, whose
from state.anchors import Anchors
from state.records import Position


class Fit(Enum):
    """What is found at the offset of an anchor."""

    FITS = auto()
    """Its record."""
    OTHER = auto()
    """Another record."""
    ABSENT = auto()
    """No record, although the log begins before it: it ends, or a marker is there, or the record was compacted."""
    REMOVED = auto()
    """The log begins behind it."""
    UNREADABLE = auto()
    """A batch that cannot be read, which says nothing."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a log: where it begins, its high watermark, and of each anchor, the newest first, what is there.

    ``follows`` is the offset of the first record behind the newest anchor and below the position, None without any.
    """

    beginning: int
    end: int
    fits: Sequence[Fit] = ()
    follows: int | None = None


class Log(Enum):
    """What a log is to a task, compared with the one that it has decided."""

    SAME = "same"
    TRUNCATED = "truncated"
    """It is the same up to some record, and ends there or goes another way."""
    RECREATED = "recreated"
    """It is another one."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where to begin, and why. ``anchors`` are those that hold for this log.

    ``again`` is how many records at most are decided once more, ``lost`` how many were removed that nobody had decided.
    """

    offset: int
    log: Log
    anchors: Anchors = ()
    again: int = 0
    lost: int = 0


def beginning(position: int, anchors: Anchors, look: Look) -> Beginning:
    """Behind the newest anchor that fits; without one at the beginning, unless all of them are removed.

    ``position`` is where the checkpoint has decided up to. Where a log was replaced while it was read, and decided
    before anybody noticed, the newest anchors fit and older ones meet other records: those that fit are then of the new
    log, which is not decided below them. An older one that is merely absent says nothing: logs can be compacted.
    """
    if not anchors:
        return _without_anchors(position, look)
    fits = list(look.fits)
    fitting = [number for number, fit in enumerate(fits) if fit is Fit.FITS]
    others = [number for number, fit in enumerate(fits) if fit is Fit.OTHER]
    if fitting and others and others[-1] > fitting[0]:
        fitting = [number for number in fitting if number > others[-1]]
    if fitting:
        newest = fitting[0]
        if all(fit is Fit.UNREADABLE for fit in fits[:newest]):
            return Beginning(_behind(position, anchors, look), Log.SAME, anchors)
        offset = anchors[newest].offset + 1
        again = max(0, min(position, look.end) - offset)
        return Beginning(offset, Log.TRUNCATED, anchors[newest:], again)
    if Fit.OTHER in fits or Fit.ABSENT in fits:
        return Beginning(look.beginning, Log.RECREATED)
    if Fit.UNREADABLE in fits:
        return Beginning(_behind(position, anchors, look), Log.SAME, anchors)
    offset = max(look.beginning, anchors[0].offset + 1)
    return Beginning(offset, Log.SAME, anchors, lost=max(0, look.beginning - position))


def _behind(position: int, anchors: Anchors, look: Look) -> int:
    """At the position, if that is what follows upon the newest anchor; what lies between is not decided."""
    if look.follows is None and position <= look.end:
        return position
    return min(anchors[0].offset + 1, look.end)


def _without_anchors(position: int, look: Look) -> Beginning:
    """A state of an earlier release, or nothing has been decided yet: the position, while the log has it."""
    if position > look.end:
        return Beginning(look.beginning, Log.RECREATED)
    return Beginning(max(position, look.beginning), Log.SAME, lost=max(0, look.beginning - position))


# what the group's offset says


@dataclass(frozen=True, slots=True)
class Obeyed:
    """An operator has set this offset: the task goes there."""

    offset: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Somebody has set this offset, who was no operator as far as can be told.

    Obeyed, it would have repeated ``repeats`` records, or skipped ``skips`` that nobody has decided.
    """

    offset: int
    repeats: int
    skips: int


@dataclass(frozen=True, slots=True)
class StateGone:
    """We have committed here, and there is no checkpoint: the state is gone. The task goes on at the group's offset."""


@dataclass(frozen=True, slots=True)
class StateWentBack:
    """We have committed ``by`` offsets beyond the checkpoint: the state has lost its end."""

    by: int


Judgement = Obeyed | Ignored | StateGone | StateWentBack | None


def judge(committed: OffsetAndMetadata, checkpoint: Position | None, offset: int, *, has_state: bool) -> Judgement:
    """What the offset that the group has says to a task that would begin at ``offset`` without it.

    ``checkpoint`` is that of this log; ``has_state`` is also true if there is one of another topic.

    Whoever wants records decided again sets an offset before the last one that we have proved. What lies between that
    and the position comes of a reader that went on from ours, and what lies behind it would skip what nobody has
    decided; neither is obeyed without `ORDER_METADATA`. What was obeyed once is not again, for as long as the group can
    still have it: it would win after each crash.
    """
    given = committed.offset
    match whose(committed):
        case Whose.OURS:
            if checkpoint is None:
                return None if has_state else StateGone()
            return StateWentBack(given - checkpoint.offset) if given > checkpoint.offset else None
        case Whose.FIRST:
            return None
        case order_or_foreign:
            if given == offset or (checkpoint is not None and given == checkpoint.obeyed):
                return None
            if order_or_foreign is Whose.ORDER or given < proof_of(checkpoint, offset):
                return Obeyed(given)
            return Ignored(given, repeats=max(0, offset - given), skips=max(0, given - offset))


def proof_of(checkpoint: Position | None, offset: int) -> int:
    """The last proof as far as it holds for a task that begins at ``offset``; that itself where none is known."""
    if checkpoint is None or checkpoint.proof is None:
        return offset
    return min(checkpoint.proof, offset)
