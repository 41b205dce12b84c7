"""Where a task begins (design section 17). Pure.

`beginning` compares the log with the anchors of the checkpoint: is this the log that was decided? `judge` looks at the
group's offset, which somebody else can have set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import Whose, whose
from state.anchors import Anchors
from state.records import Position


class Fit(Enum):
    """What is found in the log at the offset of an anchor."""

    FITS = auto()
    """At the anchor's offset is the anchor's record."""
    OTHER = auto()
    """At the anchor's offset is another record."""
    ABSENT = auto()
    """At the anchor's offset is no record, although the log begins before it: the log ends before it, there is a
    transaction marker, or the record was compacted away."""
    REMOVED = auto()
    """The log begins after the offset."""
    UNREADABLE = auto()
    """At the anchor's offset is a batch that cannot be read, which says nothing of the log."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a log: its first offset, its high watermark (``end``), and how each anchor fits, the newest
    first.

    ``follows`` is the offset of the first record after the newest anchor and below the position; None if there is none.
    """

    beginning: int
    end: int
    fits: Sequence[Fit] = ()
    follows: int | None = None


class Log(Enum):
    """How a log compares with the one that a task has decided."""

    SAME = "same"
    TRUNCATED = "truncated"
    """The log is the same up to some record, and ends there or has other records from there on."""
    RECREATED = "recreated"
    """The log is another one: the topic was created anew."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where to begin, and why. ``anchors`` are those that are valid for this log.

    ``again`` is how many records are decided once more, at most; ``lost`` is how many were removed before anybody
    decided them.
    """

    offset: int
    log: Log
    anchors: Anchors = ()
    again: int = 0
    lost: int = 0


def beginning(position: int, anchors: Anchors, look: Look) -> Beginning:
    """Begin after the newest anchor that fits. If none fits, begin at the log's beginning, unless all are removed.

    ``position`` is how far the checkpoint says that the log is decided. If a log was replaced while it was read, and
    the new one was decided for a while before anybody noticed, the newest anchors fit and older ones meet other
    records. Then the fitting ones above the others are of the new log, which is not decided below them, so they do not
    count. An older anchor that is merely absent says nothing, as logs can be compacted.
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
    """The position, if no record lies between it and the newest anchor; else the offset after that anchor, as the
    records in between are not decided."""
    if look.follows is None and position <= look.end:
        return position
    return min(anchors[0].offset + 1, look.end)


def _without_anchors(position: int, look: Look) -> Beginning:
    """Without anchors (earlier release's state, or nothing decided yet): begin at the position, if the log has it."""
    if position > look.end:
        return Beginning(look.beginning, Log.RECREATED)
    return Beginning(max(position, look.beginning), Log.SAME, lost=max(0, look.beginning - position))


# what the group's offset means


@dataclass(frozen=True, slots=True)
class Obeyed:
    """An operator has set this offset on purpose: the task begins there."""

    offset: int


@dataclass(frozen=True, slots=True)
class IgnoredOffset:
    """Somebody has set this offset, but nothing shows that it was an operator's order. The task ignores it.

    If obeyed, it would have repeated ``repeats`` records, or skipped ``skips`` records that nobody has decided.
    """

    offset: int
    repeats: int
    skips: int


@dataclass(frozen=True, slots=True)
class StateGone:
    """The service has committed this offset, but there is no checkpoint: the state is gone. The task goes on at the
    group's offset."""


@dataclass(frozen=True, slots=True)
class StateWentBack:
    """The service has committed ``by`` offsets beyond the checkpoint: the state has lost its end."""

    by: int


Judgement = Obeyed | IgnoredOffset | StateGone | StateWentBack | None


def judge(committed: OffsetAndMetadata, checkpoint: Position | None, offset: int, *, has_state: bool) -> Judgement:
    """What the group's offset means for a task that would begin at ``offset`` without it; None if it means nothing.

    ``checkpoint`` is that of this log; ``has_state`` is also true if there is one of another topic.

    Whoever wants records decided again sets an offset before the last proof. An offset between that proof and the
    position comes from a reader that went on from our offset. A later one would skip records that nobody has decided.
    Neither of these two is obeyed without `ORDER_METADATA`. An offset that was obeyed is not obeyed again while the
    group may still have it: else it would win after each crash.
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
            return IgnoredOffset(given, repeats=max(0, offset - given), skips=max(0, given - offset))


def proof_of(checkpoint: Position | None, offset: int) -> int:
    """The last proof of the checkpoint, at most ``offset``, where the task begins; ``offset`` if no proof is known."""
    if checkpoint is None or checkpoint.proof is None:
        return offset
    return min(checkpoint.proof, offset)
