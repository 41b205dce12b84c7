"""The history of one alert, for ``alerts show``: a bounded look into its topic."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import asdict

from consumer.cli.terminal import counted, moment, show_table, span
from consumer.history.step import NoStep, Reason, Step, StepKind, decode
from consumer.kafka.clients import KafkaClients
from consumer.tuning.order import Times
from consumer.tuning.topic import records_since
from providers.errors import text_of
from state.records import encode_key

LOOK_SECONDS: Final = 10.0
"""How many seconds the topic is read at most, because a person waits for the answer."""

BACK_SECONDS: Final = 7 * 86_400.0
"""How many seconds back the history of an alert is looked for that is gone."""

_MARGIN_SECONDS: Final = 600.0
"""How many seconds the clock of a task, or of a broker, may differ from that of an event."""

_ENDS: Final = (StepKind.RESOLVED, StepKind.FORGOTTEN, StepKind.HANDED_OVER, StepKind.ORPHANED)
"""The steps by which an alert, or one life of it, is over for its task."""

_LONGEST: Final = 200
"""How many steps are shown at most: the last ones."""

_COLUMNS = ("AT", "AFTER", "STEP", "SEVERITY", "EVENTS", "WHAT")

_WHY: Final[Mapping[str, str]] = {
    Reason.NEW: "there was no alert of its key",
    Reason.REOPENED: "it was over, and came back before the provider was told so",
    Reason.UNTOLD: "an earlier trigger became a dead letter, so nobody was told yet",
    Reason.RAISED: "an event of higher severity than was told",
    Reason.RENOTIFY: "told longer ago than renotify_seconds",
    Reason.WINDOW: "the event before was longer ago than window_seconds",
    Reason.CLOSED_AT_PROVIDER: "closed at the provider, and it goes on",
}


@dataclass(slots=True)
class AlertHistory:
    """The steps of one alert in their order, from where it begins if that was found; ``notes`` say what is missing."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def begins(self) -> bool:
        """Whether the beginning of the alert was found."""
        return bool(self.steps) and self.steps[0].is_first


async def history_of(
    clients: KafkaClients,
    partitions: Sequence[TopicPartition],
    dedup_key: str,
    providers: Collection[str],
    *,
    since: float | None,
    task: int | None = None,
    of_all: bool = False,
) -> AlertHistory:
    """The history of this dedup key since a moment (None: `BACK_SECONDS` ago), in these partitions of the topic: of its
    last alert, or ``of_all`` that it has had.

    Those that the task of this partition has written are read first, and the others only if the alert does not begin
    there: it was handed over. Raises nothing, since an alert is shown also without its history.
    """
    if not partitions:
        return AlertHistory(notes=["its topic does not exist, or this user may not see it"])
    begin = time.time() - BACK_SECONDS if since is None else since - _MARGIN_SECONDS
    own = [] if task is None else [one for one in partitions if one.partition == task % len(partitions)]
    found = AlertHistory()
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            if own:
                await _read(clients, own, dedup_key, providers, begin, found, of_all=of_all)
            if len(own) < len(partitions) and not found.begins:
                found.steps.clear()
                await _read(clients, partitions, dedup_key, providers, begin, found, of_all=of_all)
    except TimeoutError:
        found.notes.append(f"not read to its end within {LOOK_SECONDS:g} s")
    except (KafkaError, OSError) as error:
        found.notes.append(f"not read: {text_of(error, 'no answer')}")
    return found


async def _read(
    clients: KafkaClients,
    partitions: Sequence[TopicPartition],
    dedup_key: str,
    providers: Collection[str],
    begin: float,
    found: AlertHistory,
    *,
    of_all: bool,
) -> None:
    wanted = encode_key(dedup_key)
    async for records in records_since(clients, partitions, begin, Times(time.time() + _MARGIN_SECONDS)):
        for _, _, record in records:
            if record.key != wanted:
                continue
            try:
                step = decode(record.value)
            except NoStep as error:
                found.notes.append(f"partition {record.partition}, offset {record.offset}: {error}")
                continue
            if step.provider not in providers:
                continue
            if step.is_first and not of_all:
                found.steps.clear()  # of an alert that is gone
            found.steps.append(step)


def to_json(history: AlertHistory) -> list[dict[str, Any]]:
    """The steps as plain values, without those that are None."""
    return [
        {**{name: value for name, value in asdict(step).items() if value is not None}, "at": moment(step.at)}
        for step in history.steps
    ]


def show_history(history: AlertHistory) -> None:
    """Print the steps as a table, and what is missing of them."""
    shown = history.steps[-_LONGEST:]
    if shown:
        print()
        show_table(_COLUMNS, map(_row, shown))
    if len(shown) < len(history.steps):
        print(f"the last {len(shown)} of {len(history.steps):,} steps")
    for note in history.notes:
        print(f"history: {note}")


def _row(step: Step) -> tuple[object, ...]:
    after = None if step.seconds is None else span(step.seconds)
    return moment(step.at), after, step.kind.value, step.severity, step.occurrences, "; ".join(_what(step))


def _what(step: Step) -> Iterator[str]:
    if step.reason is not None:
        yield _WHY.get(step.reason, step.reason)
    if step.actor is not None:
        yield f"by {step.actor}"
    if step.attempts is not None:
        yield f"through {step.route} with {counted(step.attempts, 'request')}"
    if step.suppressed:
        yield f"{counted(step.suppressed, 'event')} more since the step before, told to nobody"
    if step.event_id is not None:
        yield f"event {step.event_id}"


def steps_about(steps: Sequence[Step], event_id: str, place: tuple[int, int] | None) -> list[Step]:
    """What came of one event: from the step that tells of it to the end of its alert. It is known by its id, or by its
    ``place`` in the pipeline's input: partition and offset (None: not known). No steps if it was only counted."""

    def tells(step: Step) -> bool:
        if step.event_id == event_id:
            return True
        first, last = step.first_offset, step.last_offset
        if place is None or first is None or last is None:
            return False
        return step.partition == place[0] and first <= place[1] <= last

    begin = next((index for index, step in enumerate(steps) if tells(step)), None)
    if begin is None:
        return []
    end = next((index for index in range(begin, len(steps)) if steps[index].kind in _ENDS), len(steps) - 1)
    return list(steps[begin : end + 1])


def is_gone(history: AlertHistory) -> str | None:
    """How the last life of an alert ended, in a sentence; None if there is no such step."""
    for step in reversed(history.steps):
        if step.kind in _ENDS:
            by = "" if step.actor is None else f" by {step.actor}"
            return f"{step.kind.value}{by} at {moment(step.at)}"
    return None
