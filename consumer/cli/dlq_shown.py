"""What ``dlq list`` and ``show`` print about dead letters, and about what has become of those that were replayed."""

import argparse
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer

from consumer.cli.terminal import age, moment, show_json, show_table
from consumer.cli.with_kafka import Partitions
from consumer.config import Config
from consumer.dlq.dead_letter import DeadLetter
from consumer.kafka.reading import hidden_ends, last_checkpoints
from consumer.replay.replayed import ReplayEnding, Replays, Taken, find_replays
from consumer.replay.stored_dead_letters import StoredDeadLetter

_COLUMNS = ("ID", "AGE", "PROVIDER", "STAGE", "CLASS", "RETRYABLE", "SEEN", "REPLAYED", "ERROR")


@dataclass(frozen=True, slots=True)
class Known:
    """The replays that are known, and how far the tasks have read the feedback topic. ``hidden`` has a sentence for
    each partition of which an open transaction hides a part."""

    replays: Replays = field(default_factory=Replays)
    taken: Taken = field(default_factory=dict)
    hidden: Sequence[str] = ()


async def known_replays(
    reader: AIOKafkaConsumer, config: Config, partitions: Partitions, *, has_endings: bool
) -> Known:
    """The replays that the dead-letter topic shows, and those in the feedback topic, if it exists. With ``has_endings``
    the state topics, if they exist, show how replays have ended.

    Raises what the reader raises if Kafka does not answer as it should.
    """
    topics = config.kafka.topics
    dead_letters, feedback = partitions[topics.dlq], partitions.get(topics.feedback, ())
    hidden = await hidden_ends(reader, [*dead_letters, *feedback])
    replays = await find_replays(reader, dead_letters, feedback)
    taken: dict[str, Mapping[int, Mapping[int, int]]] = {}
    for provider in config.pipelines if replays.sent and has_endings else ():
        if states := partitions.get(config.kafka.state_topic(provider)):
            hidden += await hidden_ends(reader, states)
            checkpoints = await last_checkpoints(reader, states)
            taken[provider] = {position.partition: position.feedback for position in checkpoints}
    return Known(replays, taken, hidden)


def show_dead_letters(args: argparse.Namespace, dead_letters: Sequence[StoredDeadLetter], known: Known) -> None:
    """Print the dead letters on stdout: as a table, or as JSON with ``args.json``."""
    if args.json:
        show_json([facts_of(stored, known) for stored in dead_letters])
    elif dead_letters:
        now, has_replayed = time.time(), any(stored.id in known.replays.sent for stored in dead_letters)
        rows = (_row(stored, known, now, has_replayed=has_replayed) for stored in dead_letters)
        show_table(_COLUMNS, rows, is_last_cut=True)
    else:
        print("no dead letters")


def _row(stored: StoredDeadLetter, known: Known, now: float, *, has_replayed: bool) -> Sequence[object]:
    facts, seen = facts_of(stored, known), age(now - stored.at)
    if has_replayed:  # 80 columns have room for the column REPLAYED or for these two, not for all three
        facts |= {"stage": None, "retryable": None}
    names = ("provider", "stage", "error_class", "retryable", "occurrences")
    replayed = _told_replay(stored, known, now)
    return (stored.id, seen, *(_cell(facts.get(name)) for name in names), replayed, _told_error(stored, facts["error"]))


def _told_replay(stored: StoredDeadLetter, known: Known, now: float) -> str | None:
    """How long ago the dead letter was replayed, and how that has ended; None if it was not replayed."""
    sent = known.replays.sent.get(stored.id)
    if sent is None or stored.dead_letter is None:
        return None
    ending, again = known.replays.ending(stored.id, stored.dead_letter, known.taken)
    match ending:
        case ReplayEnding.UNKNOWN:
            told = ""
        case ReplayEnding.DEAD:
            told = f", again {again}"
        case _:
            told = f", {ending.value}"
    return age(now - sent.at) + told


def _told_error(stored: StoredDeadLetter, error: object) -> object:
    """The error; if the dead letter is only a part of the original, "(cut)" stands before it, so that nobody overlooks
    it."""
    return f"(cut) {error}" if stored.dead_letter is not None and stored.dead_letter.cut is not None else error


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def cell_of(value: object) -> object:
    """A fact as people read it; None for an empty list."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return _cell(value)


def facts_of(stored: StoredDeadLetter, known: Known) -> dict[str, Any]:
    """The facts of a dead letter and of its replay, without its content."""
    dead_letter = stored.dead_letter
    facts: dict[str, Any] = {"id": stored.id, "at": moment(stored.at)}
    if dead_letter is None:
        return {**facts, "error": "not readable: no dead letter of this service"}
    record = dead_letter.record
    return {
        **facts,
        "provider": dead_letter.provider,
        "stage": dead_letter.stage,
        "error_class": dead_letter.error_class,
        "error": dead_letter.error,
        "retryable": dead_letter.retryable,
        "event_id": dead_letter.event_id,
        "occurrences": dead_letter.occurrences,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "first_offset": dead_letter.first_offset,
        "last_offset": dead_letter.last_offset,
        "attempts": dead_letter.attempts,
        "first_attempt": moment(dead_letter.first_attempt),
        "last_attempt": moment(dead_letter.last_attempt),
        "replay_of": stored.history,
        **_replayed(stored, dead_letter, known),
        **_lacks(dead_letter),
    }


def _replayed(stored: StoredDeadLetter, dead_letter: DeadLetter, known: Known) -> dict[str, Any]:
    """When the dead letter was replayed, how that has ended, and the id of its new dead letter if it failed again."""
    sent = known.replays.sent.get(stored.id)
    if sent is None:
        return {"replayed_at": None, "replay_ended": None, "replayed_as": None}
    ending, again = known.replays.ending(stored.id, dead_letter, known.taken)
    return {"replayed_at": moment(sent.at), "replay_ended": ending.value, "replayed_as": again}


def _lacks(dead_letter: DeadLetter) -> dict[str, Any]:
    """Whether the dead letter was cut, and if so, the facts about the whole original."""
    cut = dead_letter.cut
    if cut is None:
        return {"cut": False}
    return {
        "cut": True,
        "original_key_bytes": cut.key_bytes,
        "original_value_bytes": cut.value_bytes,
        "original_headers": cut.header_count,
        "original_value_sha256": cut.value_sha256,
    }


def content_of(stored: StoredDeadLetter) -> dict[str, Any]:
    """The record in a dead letter; a key or a value that is no text is given in base64."""
    record = stored.record
    headers = stored.dead_letter.record.headers if stored.dead_letter is not None else record.headers
    return {
        **_bytes("key", record.key),
        **_bytes("value", record.value),
        "headers": [
            [name, None if value is None else value.decode(errors="backslashreplace")] for name, value in headers
        ],
    }


def _bytes(name: str, value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}
