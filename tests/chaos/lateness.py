"""How long people waited: of each problem, and of those whose page nothing was in the way of.

A page *waits* from when the broker had the first event of its problem (or from the end of a foreign transaction that
hid it) until its request took effect. Times when something was in the way do not count: a fault that is about its
provider, key or partition, and the seconds that recovering from it may take (`tests.chaos.faults.Kind.recovery`); times
when this process itself was late, for it is the provider, and the clock. A page that itself met a fault of the provider
is not judged: its trouble is its own, and its backoff may be longer than the fault. Neither is one that is refused for
ever.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from providers.sandbox import JournalEntry, Sandbox
from tests.chaos.finding import Finding
from tests.chaos.happened import Happened, Hidden, Window
from tests.chaos.keying import dedup_key
from tests.chaos.problem import OPENING
from tests.chaos.reader import Event, Reader
from tests.chaos.silences import Silences

LATE_SECONDS = 5.0
"""A page is late that waited so much longer than the rate of its key allows."""

PAGES_PART = 3 / 5
"""Of five requests at least so many may be pages: one is a resolve, one is told again (design section 13)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the first event of a problem waited for its request to take effect."""

    known: float
    told: float


@dataclass(frozen=True, slots=True)
class Page:
    """The first telling of a problem. ``key`` is the secret key of its route; ``is_struck``: it met a fault itself."""

    provider: str
    dedup_key: str
    key: str
    partition: int
    known: float
    told: float
    is_struck: bool = False


@dataclass(frozen=True, slots=True)
class Lateness:
    """``judged``: how many pages came when nothing was in the way of them; ``longest``: the longest wait
    of any, without what was in the way; ``findings``: those that were late."""

    judged: int
    longest: float
    findings: list[Finding]


def waits(reader: Reader, sandbox: Sandbox, acked: Mapping[str, float], prefix: str, happened: Happened) -> list[Wait]:
    """The waits of all problems of the sessions whose name begins with ``prefix``."""
    first: dict[tuple[str, str], float] = {}
    for provider in reader.providers:
        for event in reader.events:
            if event.guard is not None and event.session.startswith(prefix):
                key = dedup_key(provider, event, happened.renderings)
                first.setdefault((provider, key), acked.get(event.event_id, event.sent))
    told: dict[tuple[str, str], float] = {}
    for entry in sandbox.requests():
        if entry.applied and entry.provider is not None and entry.dedup_key is not None:
            told.setdefault((entry.provider, entry.dedup_key), entry.at)
    return [Wait(known, told[problem]) for problem, known in first.items() if problem in told]


def recovery_seconds(waits: Sequence[Wait], begun: float, over: float) -> float:
    """How long after a fault was over the last problem was told that was late because of it, as far as can be seen."""
    late = [one.told - over for one in waits if begun - 1 <= one.known <= over + 20 and one.told - one.known > 1.5]
    return max(0.0, *late) if late else 0.0


def pages(
    reader: Reader, sandbox: Sandbox, acked: Mapping[str, float], prefix: str, happened: Happened
) -> Iterator[Page]:
    """The pages of the sessions whose name begins with ``prefix``, without those that are refused for ever."""
    silences = Silences(reader.silences, happened.deaf)
    for provider in reader.providers:
        events: dict[str, list[Event]] = defaultdict(list)
        for event in reader.events:
            if event.guard is not None and event.session.startswith(prefix):
                events[dedup_key(provider, event, happened.renderings)].append(event)
        attempts: dict[str, list[JournalEntry]] = defaultdict(list)
        for entry in sandbox.requests(provider, action=OPENING[provider]):
            if entry.dedup_key in events and entry.fault is not None:
                attempts[entry.dedup_key].append(entry)
        seen: set[str] = set()
        closed: set[str] = set()  # by somebody at the provider: what follows tells again, when that is heard of
        for incident in sandbox.incidents(provider):
            key = incident.dedup_key
            if key not in events or happened.refusal(events[key][0].session) is not None:
                continue
            # What a later incident began with is known by what opened it only; that of the first may have been counted
            # into a worse one.
            by_id = {one.event_id: one for one in events[key]}
            first = events[key][0] if key not in seen else by_id.get(next(iter(incident.event_ids), ""))
            seen.add(key)
            is_after_close = key in closed
            if incident.ended_by == "person":
                closed.add(key)
            if first is None or is_after_close:
                continue
            known = _visible(first.partition, acked.get(first.event_id, first.sent), happened.hidden)
            told = incident.opened_at
            known = _may_be_told(known, told, happened)
            tells = by_id.get(next(iter(incident.event_ids), ""), first)
            known = _audible(known, first, tells, events[key], partial(_silent_until, silences, provider))
            is_struck = any(known <= entry.at <= told for entry in attempts[key])
            yield Page(provider, key, incident.key, first.partition, known, told, is_struck)


def _visible(partition: int, known: float, hidden: Iterable[Hidden]) -> float:
    """From when on an event could be read that came then."""
    for one in hidden:
        if one.partition == partition and one.begun <= known < one.over:
            return one.over
    return known


def _audible(
    known: float, first: Event, told: Event, events: Sequence[Event], silent: Callable[[Event], float | None]
) -> float:
    """From when on a page may be sent whose ``first`` event may have been silenced: when the event that it tells came,
    or when the silences of that had ended, and of what they held meanwhile."""
    if silent(first) is None:
        return known
    over = silent(told)
    if over is None:
        return max(known, told.sent)
    for event in events:
        if told.order < event.order and event.sent < over:
            over = max(over, silent(event) or over)
    return max(known, over)


def _silent_until(silences: Silences, provider: str, event: Event) -> float | None:
    """Until when an event may be silenced, at most; None if it cannot be."""
    of_event = silences.of(provider, event.guard, event.session, is_critical=event.is_critical)
    ends = [silences.latest_end(one, event.sent) for one in of_event]
    return max((end for end in ends if end is not None), default=None)


def _may_be_told(known: float, told: float, happened: Happened) -> float:
    """From when on the home of a key may tell what is new to it, after a growth: once the homes of before, of which one
    may be hidden, have handed over what they have, and at the latest when it does not wait for them any more. (Which
    of them it is depends on what is believed of the partitioner.)"""
    hidden = [one.over for one in happened.hidden if one.begun < told and known < one.over]
    growths = [one.over for one in happened.growths if one.begun <= known < one.over]
    return min(max(hidden), max(growths)) if hidden and growths else known


def lateness(pages: Iterable[Page], windows: Sequence[Window], per_second: float | None = None) -> Lateness:
    """Which pages were late. ``per_second`` is the rate of each key, None: there is no limit."""
    by_key: dict[tuple[str, str], list[Page]] = defaultdict(list)
    for page in pages:
        by_key[page.provider, page.key].append(page)
    judged, longest, findings = 0, 0.0, []
    for mine in by_key.values():
        for page in mine:
            if page.is_struck:
                continue
            in_the_way = [(one.begun, one.over) for one in windows if _is_about(one, page)]
            judged += not any(begun <= page.known <= over for begun, over in in_the_way)
            waited = _outside(page.known, page.told, in_the_way)
            longest = max(longest, waited)
            allowed = LATE_SECONDS
            if per_second is not None:
                before = sum(other.known <= page.known and page.known < other.told <= page.told for other in mine)
                allowed += before / (per_second * PAGES_PART)
            if waited > allowed:
                text = (
                    f"told {page.told - page.known:.1f} s after it came, {waited:.1f} s of them with nothing in the way"
                )
                findings.append(Finding("late", page.provider, page.dedup_key, text))
    return Lateness(judged, longest, findings)


def _is_about(window: Window, page: Page) -> bool:
    return (
        window.provider in (None, page.provider)
        and window.key in (None, page.key)
        and window.partition in (None, page.partition)
    )


def _outside(begun: float, over: float, windows: Iterable[tuple[float, float]]) -> float:
    """The seconds of an interval that lie in none of these."""
    left, at = 0.0, begun
    for start, end in sorted(windows):
        if start >= over:
            break
        left += max(0.0, start - at)
        at = max(at, min(end, over))
    return left + max(0.0, over - at)
