"""``alerts list|show|ack|resolve``: the alerts as their state topics hold them, and commands about them."""

import argparse
import getpass
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consumer.build import build_pipelines
from consumer.cli.arguments import add_config, count
from consumer.cli.ending import UsageError
from consumer.cli.terminal import age, complain, counted, moment, show_facts, show_json, show_table
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.feedback import Command, Kind, encode_command
from consumer.kafka import KafkaClients, close_producer, start_producer
from consumer.reading import read_alerts
from state.alert import Alert, Due, Former, Status, due
from state.violation import Severity

SEND_SECONDS = 30.0

_KINDS = {"ack": Kind.ACKNOWLEDGE, "resolve": Kind.RESOLVE}
_COLUMNS = ("STATUS", "SEVERITY", "SEEN", "SINCE", "LAST", "OWES", "ORPHANED AT", "PROVIDER", "DEDUP KEY")


@dataclass(frozen=True, slots=True)
class Found:
    """An alert and whose it is: the task of that partition has it."""

    provider: str
    partition: int
    alert: Alert
    orphans: Sequence[Former] = ()
    """Where it has, or may have, an incident whose key is not configured."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "alerts", help="list, show, acknowledge and resolve the open alerts"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all alerts, the worst first")
    listing.add_argument(
        "--status",
        action="append",
        choices=[status.value for status in Status],
        help="only those; can be given several times",
    )
    listing.add_argument(
        "--orphaned",
        action="store_true",
        help="only those with an incident that nothing can reach, since its key is not configured any more",
    )
    listing.add_argument(
        "--severity",
        action="append",
        choices=[severity.label for severity in Severity],
        help="only those; can be given several times",
    )
    listing.add_argument("--limit", metavar="N", type=count, help="only the N worst")
    listing.add_argument("--summary", action="store_true", help="only how many there are of each kind")
    show = actions.add_parser("show", help="all that is known of one alert")
    ack = actions.add_parser(
        "ack",
        help="acknowledge an alert, here and at its provider",
        description="Writes a command to the feedback topic; the member that has the alert takes it from there.",
    )
    resolve = actions.add_parser(
        "resolve",
        help="resolve an alert, here and at its provider",
        description="Writes a command to the feedback topic; the member that has the alert takes it from there. A "
        "violation that comes afterwards triggers again.",
    )
    for action in (listing, show):
        action.add_argument("--provider", choices=("pagerduty", "opsgenie"))
        action.add_argument("--json", action="store_true", help="for programs")
    for action in (show, ack, resolve):
        action.add_argument("dedup_key", metavar="DEDUP_KEY", type=_text)
    for action in (listing, show, ack, resolve):
        add_config(action)
    for action in (ack, resolve):
        action.add_argument("--provider", choices=("pagerduty", "opsgenie"), required=True)
        action.add_argument("--by", metavar="NAME", type=_text, help="who does it, for the log (default: you)")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if there is no such alert or Kafka is out of reach; 2 for the configuration."""

    def topics(config: Config) -> Sequence[str]:
        states = [config.kafka.state_topic(provider) for provider in _providers(args, config)]
        return [*states, config.kafka.topics.feedback] if args.action in _KINDS else states

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        found = await _found(args, config, clients, partitions)
        match args.action:
            case "list":
                return _list(args, found)
            case "show":
                return _show(args, found)
            case _:
                return await _command(args, config, clients, found)

    return run_with_kafka(args, topics, act)


def _text(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("is not UTF-8") from None
    return argument


def _providers(args: argparse.Namespace, config: Config) -> list[str]:
    if args.provider is None:
        return config.pipelines
    if args.provider not in config.pipelines:
        raise UsageError(f"exporters.alerting.{args.provider}: is not configured")
    return [args.provider]


async def _found(
    args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions
) -> list[Found]:
    found = []
    integrations = {pipeline.provider.name: pipeline.integrations for pipeline in build_pipelines(config)}
    for provider in _providers(args, config):
        alerts, corrupt = await read_alerts(clients, partitions[config.kafka.state_topic(provider)])
        complain(corrupt)
        orphans = integrations[provider].orphans
        found += [Found(provider, partition, alert, orphans(alert)) for partition, alert in alerts]
    return found


# list, show


def _list(args: argparse.Namespace, found: list[Found]) -> int:
    chosen = [
        one
        for one in found
        if (not args.status or one.alert.status.value in args.status)
        and (not args.severity or one.alert.highest.label in args.severity)
        and (one.orphans or not args.orphaned)
    ]
    if args.summary:
        return _summary(args, chosen)
    chosen.sort(key=lambda one: (-one.alert.highest, -one.alert.last_seen, one.alert.dedup_key, one.partition))
    shown = chosen[: args.limit]
    if args.json:
        show_json([_facts(one) for one in shown])
    elif chosen:
        now = time.time()
        show_table(_COLUMNS, (_row(one, now, is_orphaned_at_shown=args.orphaned) for one in shown))
        of = f"{len(shown):,} of " if len(shown) < len(chosen) else ""
        owing = sum(one.alert.owed is not None for one in chosen)
        print(f"{of}{counted(len(chosen), 'alert')}" + (f", {owing:,} of them not told yet" if owing else ""))
    else:
        print("no alerts")
    return 0


def _row(found: Found, now: float, *, is_orphaned_at_shown: bool) -> Sequence[object]:
    alert, owes = found.alert, due(found.alert)
    return (
        alert.status.value,
        alert.highest.label,
        alert.occurrences,
        age(now - alert.first_seen),
        age(now - alert.last_seen),
        None if owes is None else owes.value,
        ", ".join(map(str, found.orphans)) if is_orphaned_at_shown else None,
        found.provider,
        alert.dedup_key,
    )


def _summary(args: argparse.Namespace, chosen: Sequence[Found]) -> int:
    """How many alerts there are of each kind, and no single one."""
    counts = Counter((one.provider, one.alert.highest, one.alert.status) for one in chosen)
    rows = [
        {"provider": provider, "severity": severity.label, "status": status.value, "alerts": count}
        for (provider, severity, status), count in sorted(
            counts.items(), key=lambda item: (item[0][0], -item[0][1], item[0][2].value)
        )
    ]
    if args.json:
        show_json(rows)
    else:
        show_table(("PROVIDER", "SEVERITY", "STATUS", "ALERTS"), (list(row.values()) for row in rows))
        print(counted(len(chosen), "alert"))
    return 0


def _show(args: argparse.Namespace, found: list[Found]) -> int:
    chosen = [one for one in found if one.alert.dedup_key == args.dedup_key]
    if not chosen:
        return _none(args.dedup_key)
    if len({one.provider for one in chosen}) > 1:
        raise UsageError("--provider: both providers have an alert with this dedup key: say which is meant")
    # Where records of one dedup key came in several partitions, the one that something was heard of last is shown.
    newest, *others = sorted(chosen, key=lambda one: (-one.alert.decided, one.partition))
    facts = {**_facts(newest), **_details(newest.alert)}
    if args.json:
        show_json({**facts, "others": [{**_facts(one), **_details(one.alert)} for one in others]})
    else:
        show_facts((name.replace("_", " "), value) for name, value in _flat(facts))
        for one in others:
            print(f"also in partition {one.partition}: {one.alert.status.value}, {_seen(one.alert)}")
    return 0


def _seen(alert: Alert) -> str:
    times = "once" if alert.occurrences == 1 else f"{alert.occurrences} times"
    return f"seen {times}, last at {moment(alert.last_seen)}"


def _none(dedup_key: str) -> int:
    complain([f"there is no alert with the dedup key {dedup_key}"])
    return 1


def _facts(found: Found) -> dict[str, Any]:
    alert = found.alert
    owes = due(alert)
    return {
        "dedup_key": alert.dedup_key,
        "provider": found.provider,
        "partition": found.partition,
        "status": alert.status.value,
        "severity": alert.highest.label,
        "occurrences": alert.occurrences,
        "first_seen": moment(alert.first_seen),
        "last_seen": moment(alert.last_seen),
        "route": alert.route,
        "owes": None if owes is None else owes.value,
        "orphaned_at": [str(one) for one in found.orphans] or None,
    }


def _details(alert: Alert) -> dict[str, Any]:
    told, owed = alert.told, alert.owed
    details: dict[str, Any] = {"session_id": alert.session_id, "decided": moment(alert.decided)}
    if alert.integration is not None:
        details["integration"] = alert.integration
    if alert.former:
        details["has_left"] = [str(one) for one in alert.former]
    if told is not None:
        details["told"] = {"severity": told.severity.label, "at": moment(told.at)}
    if owed is not None and due(alert) is Due.TRIGGER:
        details["owed"] = {
            "severity": owed.severity.label,
            "since": moment(owed.since),
            "occurrences": owed.occurrences,
            "first_offset": owed.first_offset,
            "last_offset": owed.last_offset,
            "attempts": owed.attempts,
            "first_attempt": moment(owed.first_attempt),
            "last_attempt": moment(owed.last_attempt),
        }
    return details


def _flat(facts: dict[str, Any]) -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            flat += [(f"{name} {inner}", fact) for inner, fact in value.items()]
        elif isinstance(value, list):
            flat.append((name, ", ".join(value)))
        else:
            flat.append((name, value))
    return flat


# ack, resolve


async def _command(args: argparse.Namespace, config: Config, clients: KafkaClients, found: list[Found]) -> int:
    statuses = {one.alert.status for one in found if one.alert.dedup_key == args.dedup_key}
    if not statuses:
        return _none(args.dedup_key)
    kind, done = _KINDS[args.action], {Status.RESOLVING}
    if kind is Kind.ACKNOWLEDGE:
        done.add(Status.ACKNOWLEDGED)
    if statuses <= done:
        status = Status.RESOLVING if Status.RESOLVING in statuses else Status.ACKNOWLEDGED
        what = "is being resolved already" if status is Status.RESOLVING else "is acknowledged already"
        print(f"nothing to do: the alert {what}")
        return 0
    command = Command(kind, args.provider, args.dedup_key, time.time(), args.by or _user())
    key, value, headers = encode_command(command)
    topic = config.kafka.topics.feedback
    producer = clients.producer()
    try:
        await start_producer(producer)
        await producer.send_and_wait(topic, value, key, headers=headers)
    finally:
        await close_producer(producer, SEND_SECONDS)
    print(f"{kind.value}: written to {topic}; the member that has the alert tells {args.provider}")
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return "unknown"
