"""``alerts list|show|ack|resolve``: the alerts as their state topics hold them, and commands about them."""

import argparse
import getpass
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from consumer.build import build_pipelines
from consumer.cli.alert_facts import Found, Outlook, details, facts, names_it_says
from consumer.cli.arguments import add_config, count
from consumer.cli.ending import UsageError
from consumer.cli.last_event import LastEvent, last_event, names_of
from consumer.cli.terminal import age, complain, counted, moment, show_facts, show_json, show_table
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.event import violation_of
from consumer.feedback import Command, Kind, encode_command
from consumer.kafka import KafkaClients, close_producer, start_producer
from consumer.pipeline import Pipeline
from consumer.reading import read_alerts, read_record
from providers.retry import Backoff
from state.alert import Alert, Status, due, kept_name
from state.violation import Severity

SEND_SECONDS = 30.0

_KINDS = {"ack": Kind.ACKNOWLEDGE, "resolve": Kind.RESOLVE}
_COLUMNS = ("STATUS", "SEVERITY", "SEEN", "SINCE", "LAST", "OWES", "ORPHANED AT", "PROVIDER", "DEDUP KEY")


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
    for name in ("guard", "tenant"):
        listing.add_argument(
            f"--{name}",
            metavar="NAME",
            action="append",
            type=_text,
            help=f"only those whose event that was told last, or is owed, has this {name}; can be given several times",
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
        pipelines = {pipeline.provider.name: pipeline for pipeline in build_pipelines(config)}
        found = await _found(args, config, clients, partitions, pipelines)
        match args.action:
            case "list":
                return _list(args, found)
            case "show":
                return await _show_with_event(args, config, clients, found, pipelines)
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
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    partitions: Partitions,
    pipelines: Mapping[str, Pipeline],
) -> list[Found]:
    found = []
    for provider in _providers(args, config):
        alerts, corrupt = await read_alerts(clients, partitions[config.kafka.state_topic(provider)])
        complain(corrupt)
        orphans = pipelines[provider].integrations.orphans
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
    if args.guard or args.tenant:
        chosen = _named(chosen, args.guard, args.tenant)
    if args.summary:
        return _summary(args, chosen)
    chosen.sort(key=lambda one: (-one.alert.highest, -one.alert.last_seen, one.alert.dedup_key, one.partition))
    shown = chosen[: args.limit]
    if args.json:
        show_json([facts(one) for one in shown])
    elif chosen:
        now = time.time()
        show_table(_COLUMNS, (_row(one, now, is_orphaned_at_shown=args.orphaned) for one in shown))
        of = f"{len(shown):,} of " if len(shown) < len(chosen) else ""
        owing = sum(one.alert.owed is not None for one in chosen)
        print(f"{of}{counted(len(chosen), 'alert')}" + (f", {owing:,} of them not told yet" if owing else ""))
    else:
        print("no alerts")
    return 0


def _named(found: Sequence[Found], guards: Sequence[str] | None, tenants: Sequence[str] | None) -> list[Found]:
    """Those of one of these guards, and of one of these tenants (None: of any)."""
    wanted_guards, wanted_tenants = ([kept_name(name) for name in names or ()] for names in (guards, tenants))
    chosen, unknown = [], 0
    for one in found:
        if (names := names_of(one.alert)) is None:
            unknown += 1
        elif (not guards or kept_name(names[0]) in wanted_guards) and (
            not tenants or kept_name(names[1]) in wanted_tenants
        ):
            chosen.append(one)
    if unknown:
        told = "told it" if unknown == 1 else "told them"
        complain(
            [f"{counted(unknown, 'alert')} left out: an earlier release {told}, and kept neither guard nor tenant"]
        )
    return chosen


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


async def _show_with_event(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    found: list[Found],
    pipelines: Mapping[str, Pipeline],
) -> int:
    chosen = _of_key(args, found)
    if not chosen:
        return _none(args.dedup_key)
    newest = chosen[0]
    pipeline, alert = pipelines[newest.provider], newest.alert
    event = await last_event(alert, pipeline.template, partial(read_record, clients))
    return _show(args, chosen, event, _outlook(pipeline, alert, config))


def _of_key(args: argparse.Namespace, found: list[Found]) -> list[Found]:
    """The alerts with the dedup key, the one that something was heard of last before the others: records of one dedup
    key can have come in several partitions."""
    chosen = [one for one in found if one.alert.dedup_key == args.dedup_key]
    if len({one.provider for one in chosen}) > 1:
        raise UsageError("--provider: both providers have an alert with this dedup key: say which is meant")
    return sorted(chosen, key=lambda one: (-one.alert.decided, one.partition))


def _outlook(pipeline: Pipeline, written: Alert, config: Config) -> Outlook | None:
    """How what the alert owes goes on by the configuration of today; None if it owes nothing that can be sent."""
    alert, owed, retry = pipeline.placed(written), written.owed, config.delivery.retry
    if owed is None:
        return None
    try:
        name = alert.route or pipeline.provider.route_of(violation_of(owed.record))
    except ValueError:
        return None
    backoff = Backoff(retry.initial_backoff_ms / 1000, retry.max_backoff_ms / 1000, retry.backoff_multiplier, lambda: 1)
    return Outlook(pipeline.route(alert, name), backoff, time.time())


def _show(
    args: argparse.Namespace, chosen: Sequence[Found], event: LastEvent | None = None, outlook: Outlook | None = None
) -> int:
    newest, *others = chosen
    names = {} if event is None else names_it_says(event)
    shown = {**facts(newest), **names, **details(newest.alert, event, outlook)}
    if args.json:
        show_json({**shown, "others": [{**facts(one), **details(one.alert)} for one in others]})
    else:
        show_facts((name.replace("_", " "), value) for name, value in _flat(shown))
        for one in others:
            print(f"also in partition {one.partition}: {one.alert.status.value}, {_seen(one.alert)}")
    return 0


def _seen(alert: Alert) -> str:
    times = "once" if alert.occurrences == 1 else f"{alert.occurrences} times"
    return f"seen {times}, last at {moment(alert.last_seen)}"


def _none(dedup_key: str) -> int:
    complain([f"there is no alert with the dedup key {dedup_key}"])
    return 1


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
