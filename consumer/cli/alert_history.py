"""The history of one alert, for ``alerts show``: a bounded look into its topic."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import asdict

from consumer.cli.terminal import age, moment, show_table
from consumer.history.step import Kind, NoStep, Step, decode
from consumer.kafka.clients import KafkaClients
from consumer.tuning.order import Times
from consumer.tuning.topic import records_since
from providers.errors import text_of
from state.records import encode_key

LOOK_SECONDS: Final = 10.0
"""For how long the topic is read: somebody waits for it."""

BACK_SECONDS: Final = 7 * 86_400.0
"""How far back an alert is looked for that is gone."""

_MARGIN_SECONDS: Final = 600.0
"""By how much the clock of a task, or of a broker, may differ from that of an event."""

_LONGEST: Final = 200
"""Steps that are shown, the last ones."""

_WIDTHS = ("AT", "STEP", "SEVERITY", "WHY", "BY", "ROUTE", "ATTEMPTS", "EVENT", "SEEN", "SUPPRESSED", "AFTER")


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
) -> AlertHistory:
    """The history of this dedup key since a moment (None: `BACK_SECONDS` ago), in these partitions of the topic.

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
                await _read(clients, own, dedup_key, providers, begin, found)
            if len(own) < len(partitions) and not found.begins:
                found.steps.clear()
                await _read(clients, partitions, dedup_key, providers, begin, found)
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
            if step.is_first:
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
        show_table(_WIDTHS, map(_row, shown))
    if len(shown) < len(history.steps):
        print(f"the last {len(shown)} of {len(history.steps):,} steps")
    for note in history.notes:
        print(f"history: {note}")


def _row(step: Step) -> tuple[object, ...]:
    return (
        moment(step.at),
        step.kind.value,
        step.severity,
        step.reason,
        step.actor,
        step.route,
        step.attempts,
        step.event_id,
        step.occurrences,
        step.suppressed or None,
        None if step.seconds is None else age(step.seconds),
    )


def is_gone(history: AlertHistory) -> str | None:
    """How the last life of an alert ended, in a sentence; None if there is no such step."""
    for step in reversed(history.steps):
        if step.kind in (Kind.RESOLVED, Kind.FORGOTTEN, Kind.HANDED_OVER, Kind.ORPHANED):
            by = "" if step.actor is None else f" by {step.actor}"
            return f"{step.kind.value}{by} at {moment(step.at)}"
    return None
