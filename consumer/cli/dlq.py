"""``dlq list|show|replay``: the dead letters, and their replay."""

import argparse
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from aiokafka.errors import KafkaError, ProducerFenced
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consumer.cli.arguments import add_config, count
from consumer.cli.dlq_shown import Known, cell_of, content_of, facts_of, known_replays, show_dead_letters
from consumer.cli.provider import add_provider, not_configured, require_known
from consumer.cli.terminal import complain, counted, plain, show_facts, show_json
from consumer.cli.times import given_time, moment_of
from consumer.cli.with_configuration import UsageError
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.group_removal import NOT_ALLOWED
from consumer.kafka.reading import bounds, hidden_ends
from consumer.kafka.rights import PREFIXED, grant
from consumer.replay.replay import Keeping, Plan, ReplayFailed, Skipped, Summary, dry_run, replay
from consumer.replay.stored_dead_letters import (
    CLASSES,
    Selection,
    StoredDeadLetter,
    Tasks,
    is_class,
    replay_group,
    replay_groups,
    stored_dead_letters,
)
from consumer.service.build import build_pipelines
from providers.errors import text_of

_ID = re.compile(r"([0-9]{1,9})/([0-9]{1,18})", re.ASCII)
_HINTS = {
    Skipped.POISON: "--poison replays them",
    Skipped.REPLAYED: "--again replays them once more",
    Skipped.NO_TASK: "they stay until a configuration has their input",
    Skipped.NO_RECORD: "`ingest` has refused them: correct them and post them again",
    Skipped.CUT: "only a part of each is stored",
}


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("dlq", help="list, show and replay the dead letters")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="the dead letters, the oldest first",
        description="Lists the dead letters that were not replayed, the oldest first.",
    )
    show = actions.add_parser(
        "show", help="all that a dead letter says", description="Shows one dead letter, with its record."
    )
    show.add_argument("id", metavar="ID", type=_id, help="as the list has it: partition/offset")
    again = actions.add_parser(
        "replay",
        help="decide dead letters again, once each",
        description="Sends dead letters to the feedback topic, each to the provider and partition that it came from, "
        "where it is decided like an event that occurs now. One transaction holds the letters and the marks that they "
        "were sent: if the command is interrupted or killed, run it again; it goes on, and sends nothing twice. It "
        "stops at the end that the dead-letter topic has when it starts.",
    )
    for action in (listing, show, again):
        add_config(action)
        action.add_argument("--json", action="store_true", help="print JSON, for programs")
    for action in (listing, again):
        add_provider(action, help="only what was for this one")
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
    listing.add_argument("--all", action="store_true", help="also those that have been replayed")
    again.add_argument("--limit", metavar="N", type=count, help="only the next N")
    again.add_argument("--dry-run", action="store_true", help="show what would be sent; send and move nothing")
    again.add_argument("--rate", metavar="N", type=_rate, help="at most N per second")
    again.add_argument("--poison", action="store_true", help="also records that were no valid events")
    again.add_argument("--again", action="store_true", help="also what has been replayed before")
    again.add_argument(
        "--group",
        metavar="NAME",
        help="a consumer group that keeps the progress; the next replay with it goes on there",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if it failed or there is no such dead letter; 2 for the configuration."""

    def topics(config: Config) -> Sequence[str]:
        if args.action != "show":
            _check_filters(args, config)
        names = config.kafka.topics
        inputs = {pipeline.input_topic: None for pipeline in build_pipelines(config)}
        match args.action:
            case "replay":
                return [names.dlq, names.feedback, *inputs]
            case "list" if args.retryable:
                return [names.dlq, *inputs]
            case _:
                return [names.dlq]

    def asked_about_replays(config: Config) -> Sequence[str]:
        return [config.kafka.topics.feedback, *map(config.kafka.state_topic, config.pipelines)]

    return run_with_kafka(args, topics, lambda *given: _act(args, *given), asked_about_replays)


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


def _check_filters(args: argparse.Namespace, config: Config) -> None:
    """Raises `UsageError` for filters that no dead letter can pass."""
    if args.action == "replay" and args.provider is not None and args.provider not in config.pipelines:
        raise not_configured(args.provider)
    require_known(args.provider, config)
    if args.error_class is not None and not is_class(args.error_class):
        near = get_close_matches(args.error_class, (*CLASSES, "rejected_400"), 1)
        hint = f" (meant: {near[0]}?)" if near else ""
        names = ", ".join(sorted(CLASSES))
        raise UsageError(f"--error-class: there is no {args.error_class}{hint}, only rejected_<status>, {names}")
    now = time.time()
    if None not in (args.since, args.until) and moment_of(args.since, now) >= moment_of(args.until, now):
        raise UsageError(f"--since {args.since}: is not before --until {args.until}, so nothing is in between")


def _selection(args: argparse.Namespace, config: Config, partitions: Partitions) -> Selection:
    now = time.time()
    return Selection(
        provider=args.provider,
        error_class=args.error_class,
        since=None if args.since is None else moment_of(args.since, now),
        until=None if args.until is None else moment_of(args.until, now),
        retryable=args.retryable,
        tasks=_tasks(config, partitions) if args.retryable else None,
    )


def _tasks(config: Config, partitions: Partitions) -> Tasks:
    return {pipeline.provider.name: partitions[pipeline.input_topic] for pipeline in build_pipelines(config)}


# list, show


async def _list(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    selection, topic = _selection(args, config, partitions), partitions[config.kafka.topics.dlq]
    found: deque[StoredDeadLetter] = deque()
    left_out = 0
    reader = clients.reader()
    await reader.start()
    try:
        known = await known_replays(reader, config, partitions, has_endings=args.all)
        complain(known.hidden)
        begins, ends = await bounds(reader, topic)
        async for stored in stored_dead_letters(reader, begins, ends):
            if not selection.has(stored):
                continue
            if stored.id in known.replays.sent and not args.all:
                left_out += 1
                continue
            found.append(stored)
            if args.limit is not None and len(found) > args.limit and len(begins) == 1:
                found.popleft()
    finally:
        await reader.stop()
    chosen = sorted(found, key=lambda stored: (stored.record.timestamp, stored.record.partition, stored.record.offset))
    shown = chosen[-args.limit :] if args.limit is not None else chosen
    show_dead_letters(args, shown, known)
    if not args.json and (shown or left_out):
        more = f"{left_out:,} more {'was' if left_out == 1 else 'were'} replayed (--all shows them)" if left_out else ""
        print("; ".join(filter(None, (counted(len(shown), "dead letter") if shown else "", more))))
    return 0


async def _show(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    number, offset = (int(part) for part in args.id.split("/"))
    partition = next((tp for tp in partitions[config.kafka.topics.dlq] if tp.partition == number), None)
    found: StoredDeadLetter | None = None
    known = Known()
    hidden: list[str] = []
    if partition is not None:
        reader = clients.reader()
        await reader.start()
        try:
            hidden = await hidden_ends(reader, [partition])
            begins, ends = await bounds(reader, [partition])
            if begins[partition] <= offset < ends[partition]:
                async for stored in stored_dead_letters(reader, {partition: offset}, {partition: offset + 1}):
                    found = stored
            if found is not None:
                known = await known_replays(reader, config, partitions, has_endings=True)
        finally:
            await reader.stop()
    if found is None:
        complain(
            [*hidden, f"there is no dead letter {args.id}{' among the records that can be read' if hidden else ''}"]
        )
        return 1
    complain(known.hidden)
    facts = {**facts_of(found, known), **content_of(found)}
    if args.json:
        show_json(facts)
        return 0
    headers = facts.pop("headers")
    show_facts((name.replace("_", " "), cell_of(value)) for name, value in facts.items())
    show_facts((f"header {name}", "" if value is None else value) for name, value in headers)
    return 0


# replay


def keeping_of(args: argparse.Namespace, group_id: str) -> tuple[str, Keeping]:
    """The consumer group of a replay with these arguments, and whether the replay commits its progress there.

    Normally the marks say which dead letters were sent, and a committed offset would pass over those that were skipped.
    With ``--again`` marks do not count, so the group keeps the progress until the replay is done. A group that the user
    has named keeps it for ever.
    """
    if args.group is not None:
        return args.group, Keeping.FOR_EVER
    names = ("provider", "error_class", "since", "until", "retryable", "poison")
    filters = {name: getattr(args, name) for name in names}
    if args.again:
        return replay_group(group_id, {**filters, "again": True}), Keeping.UNTIL_DONE
    return replay_group(group_id, filters), Keeping.NOTHING


async def _replay(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    kafka = config.kafka
    group, keeping = keeping_of(args, kafka.group_id)
    plan = Plan(
        selection=_selection(args, config, partitions),
        tasks=_tasks(config, partitions),
        group=group,
        keeping=keeping,
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
            complain(summary.hidden)
            if not args.json:
                show_dead_letters(args, found, Known())
            return _tell(args, plan, summary)
        with _progress() as progress:
            summary = await replay(clients, admin, plan, progress)
        if summary.group_left is not None:
            complain([_group_left(config, plan.group, summary.group_left)])
        return _tell(args, plan, summary)
    except ProducerFenced:
        complain(["stopped: another replay has begun; it goes on from where this one was"])
        return 1
    except (ReplayFailed, KafkaError, OSError, TimeoutError) as error:
        complain([f"stopped: {text_of(error)}; the same command goes on"])
        return 1
    finally:
        await admin.close()


def _group_left(config: Config, group: str, reason: str) -> str:
    if reason == NOT_ALLOWED:
        resource = f"--group {replay_groups(config.kafka.group_id)} {PREFIXED}"
        reason += f" ({grant(config.kafka, resource, 'Delete')} gives the right)"
    return f"group {group} could not be deleted: {reason}; the next --again sends everything all the same"


def _tell(args: argparse.Namespace, plan: Plan, summary: Summary) -> int:
    skipped = {why: summary.skipped[why] for why in Skipped if summary.skipped[why]}
    if args.json:
        facts = {
            "dry_run": args.dry_run,
            "replayed": len(summary.sent),
            "ids": summary.sent,
            "skipped": {why.value: count for why, count in skipped.items()},
            "passed_before": summary.passed_before,
            "group": None if plan.keeping is Keeping.NOTHING else plan.group,
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
    if summary.passed_before:
        line += f"; began after {counted(summary.passed_before, 'offset')} that group {plan.group} had passed"
    print(plain(line))
    return 0


@contextmanager
def _progress() -> Iterator[Any]:
    """Show a progress bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
