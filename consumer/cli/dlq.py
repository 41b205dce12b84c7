"""``dlq list|show|replay``: the dead letters, and another try for them."""

import argparse
import re
import sys
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka.errors import KafkaError, ProducerFenced
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consumer.build import build_pipelines
from consumer.cli.arguments import add_config, count
from consumer.cli.ending import UsageError
from consumer.cli.terminal import age, complain, counted, moment, plain, show_facts, show_json, show_table
from consumer.cli.times import given_time, moment_of
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.deadletter import DeadLetter
from consumer.kafka import KafkaClients
from consumer.letters import Selection, StoredLetter, replay_group, stored_letters
from consumer.reading import bounds
from consumer.replay import Plan, ReplayFailed, Skipped, Summary, dry_run, replay

_ID = re.compile(r"([0-9]{1,9})/([0-9]{1,18})", re.ASCII)
_COLUMNS = ("ID", "AGE", "PROVIDER", "STAGE", "CLASS", "RETRYABLE", "SEEN", "ERROR")
_HINTS = {
    Skipped.POISON: "--poison replays them",
    Skipped.REPLAYED: "--again replays them once more",
    Skipped.CUT: "only a part of each is here",
}


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("dlq", help="list, show and replay the dead letters")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the dead letters, the oldest first")
    show = actions.add_parser("show", help="all that a dead letter says")
    show.add_argument("id", metavar="ID", type=_id, help="as the list has it: partition/offset")
    again = actions.add_parser(
        "replay",
        help="decide dead letters again, once each",
        description="Sends dead letters to the feedback topic, each to the provider and partition that it came from, "
        "where it is decided like an event of now. What was sent and how far the topic was looked through is one "
        "transaction: ended or killed, the same command goes on where it was, and nothing is sent twice. It stops at "
        "the end that the dead-letter topic has when it starts.",
    )
    for action in (listing, show, again):
        add_config(action)
        action.add_argument("--json", action="store_true", help="for programs")
    for action in (listing, again):
        action.add_argument("--provider", choices=("pagerduty", "opsgenie"))
        action.add_argument("--error-class", metavar="CLASS", help="e.g. rejected_400, given_up, stale")
        for side, meaning in (("since", "not before"), ("until", "before")):
            action.add_argument(
                f"--{side}",
                metavar="TIME",
                type=given_time,
                help=f"dead-lettered {meaning} this: RFC 3339, or how long ago (90s, 15m, 2h, 7d)",
            )
        action.add_argument("--retryable", action="store_true", help="only those that a replay can help")
    listing.add_argument("--limit", metavar="N", type=count, help="only the newest N")
    again.add_argument("--limit", metavar="N", type=count, help="only the next N")
    again.add_argument("--dry-run", action="store_true", help="show what would be sent; send and move nothing")
    again.add_argument("--rate", metavar="N", type=_rate, help="at most N per second")
    again.add_argument("--poison", action="store_true", help="also records that were no valid events")
    again.add_argument("--again", action="store_true", help="also what the feedback topic holds already")
    again.add_argument(
        "--group",
        metavar="NAME",
        help="keeps how far this has come (default: <group_id>-dlq-replay, with other filters another)",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if it failed or there is no such dead letter; 2 for the configuration."""
    return run_with_kafka(args, lambda config: _topics(args, config), lambda *given: _act(args, *given))


def _topics(args: argparse.Namespace, config: Config) -> Sequence[str]:
    topics = config.kafka.topics
    return [topics.dlq, topics.feedback] if args.action == "replay" else [topics.dlq]


async def _act(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    match args.action:
        case "list":
            return await _list(args, config, clients, partitions)
        case "show":
            return await _show(args, config, clients, partitions)
        case _:
            return await _replay(args, config, clients, partitions)


# arguments


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError("must be partition/offset, as the list has it")
    return text


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1e6:
        raise argparse.ArgumentTypeError("must be a number per second, more than 0")
    return rate


def _selection(args: argparse.Namespace) -> Selection:
    now = time.time()
    return Selection(
        provider=args.provider,
        error_class=args.error_class,
        since=None if args.since is None else moment_of(args.since, now),
        until=None if args.until is None else moment_of(args.until, now),
        retryable=args.retryable,
    )


# list, show


async def _list(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    selection = _selection(args)
    found: deque[StoredLetter] = deque()
    reader = clients.reader()
    await reader.start()
    try:
        begins, ends = await bounds(reader, partitions[config.kafka.topics.dlq])
        async for stored in stored_letters(reader, begins, ends):
            if selection.has(stored):
                found.append(stored)
                if args.limit is not None and len(found) > args.limit and len(begins) == 1:
                    found.popleft()
    finally:
        await reader.stop()
    chosen = sorted(found, key=lambda stored: (stored.record.timestamp, stored.record.partition, stored.record.offset))
    shown = chosen[-args.limit :] if args.limit is not None else chosen
    _show_list(args, shown)
    if shown and not args.json:
        print(counted(len(shown), "dead letter"))
    return 0


def _show_list(args: argparse.Namespace, letters: Sequence[StoredLetter]) -> None:
    if args.json:
        show_json([_facts(stored) for stored in letters])
    elif letters:
        now = time.time()
        show_table(_COLUMNS, (_row(stored, now) for stored in letters), is_last_cut=True)
    else:
        print("no dead letters")


def _row(stored: StoredLetter, now: float) -> Sequence[object]:
    facts, seen = _facts(stored), age(now - stored.at)
    names = ("provider", "stage", "error_class", "retryable", "occurrences")
    return (stored.id, seen, *(_cell(facts.get(name)) for name in names), _told_error(stored))


def _told_error(stored: StoredLetter) -> object:
    """The error, behind a word that the letter is only a part of the original: that must not be overlooked."""
    error = _facts(stored)["error"]
    return f"(cut) {error}" if stored.letter is not None and stored.letter.cut is not None else error


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


async def _show(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    number, offset = (int(part) for part in args.id.split("/"))
    partition = next((tp for tp in partitions[config.kafka.topics.dlq] if tp.partition == number), None)
    found: StoredLetter | None = None
    if partition is not None:
        reader = clients.reader()
        await reader.start()
        try:
            begins, ends = await bounds(reader, [partition])
            if begins[partition] <= offset < ends[partition]:
                async for stored in stored_letters(reader, {partition: offset}, {partition: offset + 1}):
                    found = stored
        finally:
            await reader.stop()
    if found is None:
        complain([f"there is no dead letter {args.id}"])
        return 1
    facts = {**_facts(found), **_content(found)}
    if args.json:
        show_json(facts)
        return 0
    headers = facts.pop("headers")
    show_facts((name.replace("_", " "), _shown(value)) for name, value in facts.items())
    show_facts((f"header {name}", "" if value is None else value) for name, value in headers)
    return 0


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return _cell(value)


def _facts(stored: StoredLetter) -> dict[str, Any]:
    letter = stored.letter
    facts: dict[str, Any] = {"id": stored.id, "at": moment(stored.at)}
    if letter is None:
        return {**facts, "error": "not readable: no dead letter of this service"}
    record = letter.record
    return {
        **facts,
        "provider": letter.provider,
        "stage": letter.stage,
        "error_class": letter.error_class,
        "error": letter.error,
        "retryable": letter.retryable,
        "event_id": letter.event_id,
        "occurrences": letter.occurrences,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "first_offset": letter.first_offset,
        "last_offset": letter.last_offset,
        "attempts": letter.attempts,
        "first_attempt": moment(letter.first_attempt),
        "last_attempt": moment(letter.last_attempt),
        "replay_of": stored.history,
        **_lacks(letter),
    }


def _lacks(letter: DeadLetter) -> dict[str, Any]:
    """What a letter that was cut says of the whole original."""
    cut = letter.cut
    if cut is None:
        return {"cut": False}
    return {
        "cut": True,
        "original_key_bytes": cut.key_bytes,
        "original_value_bytes": cut.value_bytes,
        "original_headers": cut.header_count,
        "original_value_sha256": cut.value_sha256,
    }


def _content(stored: StoredLetter) -> dict[str, Any]:
    record = stored.record
    headers = stored.letter.record.headers if stored.letter is not None else record.headers
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


# replay


async def _replay(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    kafka = config.kafka
    if args.provider is not None and args.provider not in config.pipelines:
        raise UsageError(f"exporters.alerting.{args.provider}: is not configured")
    filters = {name: getattr(args, name) for name in ("provider", "error_class", "since", "until", "retryable")}
    plan = Plan(
        selection=_selection(args),
        inputs={pipeline.provider.name: pipeline.input_topic for pipeline in build_pipelines(config)},
        group=args.group or replay_group(kafka.group_id, {**filters, "poison": args.poison}),
        transactional_id=f"{kafka.group_id}-dlq-replay",
        feedback=partitions[kafka.topics.feedback],
        dead_letters=partitions[kafka.topics.dlq],
        poison=args.poison,
        again=args.again,
        limit=args.limit,
        rate=args.rate,
    )
    admin = clients.admin()
    await admin.start()
    try:
        if args.dry_run:
            found, summary = await dry_run(clients, admin, plan)
            if not args.json:
                _show_list(args, found)
            return _tell(args, plan, summary)
        with _progress() as progress:
            summary = await replay(clients, admin, plan, progress)
        return _tell(args, plan, summary)
    except ProducerFenced:
        complain(["stopped: another replay has begun; it goes on from where this one was"])
        return 1
    except (ReplayFailed, KafkaError, OSError, TimeoutError) as error:
        complain([f"stopped: {' '.join(str(error).split()) or type(error).__name__}; the same command goes on"])
        return 1
    finally:
        await admin.close()


def _tell(args: argparse.Namespace, plan: Plan, summary: Summary) -> int:
    skipped = {why: summary.skipped[why] for why in Skipped if summary.skipped[why]}
    if args.json:
        facts = {
            "dry_run": args.dry_run,
            "replayed": len(summary.sent),
            "ids": summary.sent,
            "skipped": {why.value: count for why, count in skipped.items()},
            "group": plan.group,
        }
        show_json(facts)
        return 0
    count = len(summary.sent)
    done = "would be replayed" if args.dry_run else "replayed"
    line = f"{count} dead letter{'' if count == 1 else 's'} {done}"
    if skipped:
        parts = (
            f"{number} {why.value}" + (f" ({_HINTS[why]})" if why in _HINTS else "") for why, number in skipped.items()
        )
        line += f"; skipped: {', '.join(parts)}"
    print(plain(line))
    return 0


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
