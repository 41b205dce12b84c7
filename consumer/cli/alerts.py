"""``alerts list|show|stats|compare|ack|resolve``: the alerts as their topics hold them, and commands about them."""

import argparse
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aiokafka import TopicPartition

from consumer.cli import alerts_stats
from consumer.cli.alert_facts import Outlook, details, facts, names_it_says
from consumer.cli.alert_history import AlertHistory, history_of, is_gone, show_history, to_json
from consumer.cli.alerts_compare import add_compare, compare, compared
from consumer.cli.alerts_found import Found, Looked, add_filters, chosen, of_keys, show_alerts
from consumer.cli.alerts_order import KINDS, add_actions, check_usage, command
from consumer.cli.arguments import add_config, count, text
from consumer.cli.last_event import LastEvent, last_event
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.terminal import complain, counted, moment, show_facts, show_json, show_table
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.deciding.pipeline import Pipeline
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import Offsets, read_alerts, read_record
from consumer.service.build import build_pipelines
from consumer.status.following import ends_of
from state.alert import Alert


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "alerts", help="list, show, acknowledge and resolve alerts; figures of their history"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="all alerts, the worst first", description="Lists the alerts in the state topics, the worst first."
    )
    add_filters(listing)
    listing.add_argument("--limit", metavar="N", type=count, help="only the N worst")
    listing.add_argument("--summary", action="store_true", help="only how many there are of each kind")
    show = actions.add_parser(
        "show", help="all that is known of one alert", description="Shows all that is known of one alert."
    )
    for action in (listing, show):
        add_provider(action, help="only the alerts there")
        action.add_argument("--json", action="store_true", help="print JSON, for programs")
    show.add_argument("dedup_key", metavar="DEDUP_KEY", type=text, help="of the alert")
    for action in (listing, show, add_compare(actions)):
        add_config(action)
    add_actions(actions)
    alerts_stats.add_stats(actions)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if there is no such alert, or two providers differ, or Kafka is out of reach; 2 for the
    configuration."""
    if args.action == "stats":
        return alerts_stats.main(args)

    def topics(config: Config) -> Sequence[str]:
        states = [config.kafka.state_topic(provider) for provider in _providers(args, config)]
        if args.action not in KINDS:
            return states
        check_usage(args)
        return [*states, config.kafka.topics.feedback]

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        providers = _providers(args, config)
        ends: Offsets = {}
        if args.action in KINDS and args.wait is not None:
            topics = [*map(config.kafka.state_topic, providers), config.kafka.topics.feedback]
            ends = await ends_of(clients, [one for topic in topics for one in partitions[topic]])
        began = time.time()
        pipelines = {pipeline.provider.name: pipeline for pipeline in build_pipelines(config)}
        found = await _found(providers, config, clients, partitions, pipelines)
        match args.action:
            case "list":
                return _list(args, found)
            case "compare":
                return compare(args, found)
            case "show":
                history = partitions.get(config.kafka.topics.history, ())
                looked = Looked(providers, found, began)
                look_again = partial(_found, providers, config, clients, partitions, pipelines)
                return await _show_whole(args, config, clients, looked, look_again, pipelines, history)
            case _:
                return await command(args, config, clients, Looked(providers, found, began), ends)

    def history(config: Config) -> Sequence[str]:
        return [config.kafka.topics.history] if args.action == "show" else []

    return run_with_kafka(args, topics, act, history)


def _providers(args: argparse.Namespace, config: Config) -> list[str]:
    if args.action == "compare":
        return compared(args, config)
    if args.provider is None:
        return config.pipelines
    if args.provider not in config.pipelines:
        raise not_configured(args.provider)
    return [args.provider]


async def _found(
    providers: Sequence[str],
    config: Config,
    clients: KafkaClients,
    partitions: Partitions,
    pipelines: Mapping[str, Pipeline],
) -> list[Found]:
    found = []
    for provider in providers:
        alerts, corrupt = await read_alerts(clients, partitions[config.kafka.state_topic(provider)])
        complain(corrupt)
        orphans = pipelines[provider].integrations.orphans
        found += [Found(provider, partition, alert, orphans(alert)) for partition, alert in alerts]
    return found


# list, show


def _list(args: argparse.Namespace, found: list[Found]) -> int:
    meant = chosen(args, found)
    if args.summary:
        return _summary(args, meant)
    shown = meant[: args.limit]
    if args.json:
        show_json([facts(one) for one in shown])
    elif meant:
        show_alerts(shown, time.time(), is_orphaned_at_shown=args.orphaned)
        of = f"{len(shown):,} of " if len(shown) < len(meant) else ""
        owing = sum(one.alert.owed is not None for one in meant)
        print(f"{of}{counted(len(meant), 'alert')}" + (f", {owing:,} of them not told yet" if owing else ""))
    else:
        print("no alerts")
    return 0


def _summary(args: argparse.Namespace, meant: Sequence[Found]) -> int:
    """Print how many alerts there are of each kind, instead of the alerts."""
    counts = Counter((one.provider, one.alert.highest, one.alert.status) for one in meant)
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
        print(counted(len(meant), "alert"))
    return 0


async def _show_whole(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    looked: Looked,
    look_again: Callable[[], Awaitable[Sequence[Found]]],
    pipelines: Mapping[str, Pipeline],
    partitions: Sequence[TopicPartition],
) -> int:
    """Show it with its event and its history; what is gone, with its history only."""
    by_key, missing = of_keys([args.dedup_key], looked)
    if missing:
        history = await history_of(clients, partitions, args.dedup_key, looked.providers, since=None)
        if not history.steps:
            complain(missing)
            return 1
        # It can have begun after the state was read, and before the history was.
        by_key, missing = of_keys([args.dedup_key], replace(looked, found=await look_again()))
        if missing:
            return _show_gone(args, history)
    named = _newest_first(by_key[args.dedup_key])
    newest = named[0]
    pipeline, alert = pipelines[newest.provider], newest.alert
    event = await last_event(alert, pipeline.template, pipeline.decoder.severities, partial(read_record, clients))
    history = await history_of(
        clients, partitions, args.dedup_key, [newest.provider], since=alert.first_seen, task=newest.partition
    )
    return _show(args, named, event, _outlook(pipeline, alert, config), history)


def _show_gone(args: argparse.Namespace, history: AlertHistory) -> int:
    last = history.steps[-1]
    gone = {"dedup_key": last.dedup_key, "provider": last.provider, "status": "gone", "ended": is_gone(history)}
    if args.json:
        show_json({**gone, "history": to_json(history)})
    else:
        show_facts((name.replace("_", " "), value) for name, value in gone.items())
        show_history(history)
    return 0


def _newest_first(named: Sequence[Found]) -> list[Found]:
    """The alerts of a dedup key (there can be one in each of several partitions), the one first that was decided
    last."""
    return sorted(named, key=lambda one: (-one.alert.decided, one.partition))


def _outlook(pipeline: Pipeline, written: Alert, config: Config) -> Outlook | None:
    """How the owed trigger will be sent with the present configuration; None if the alert owes none that can be
    sent."""
    alert, owed = pipeline.placed(written), written.owed
    if owed is None:
        return None
    try:
        name = alert.route or pipeline.provider.route_of(pipeline.decoder.violation_of(owed.record))
    except ValueError:
        return None
    return Outlook(pipeline.route(alert, name), config.delivery.retry.backoff(lambda: 1), time.time())


def _show(
    args: argparse.Namespace,
    named: Sequence[Found],
    event: LastEvent | None = None,
    outlook: Outlook | None = None,
    history: AlertHistory | None = None,
) -> int:
    newest, *others = named
    names = {} if event is None else names_it_says(event)
    shown = {**facts(newest), **names, **details(newest.alert, event, outlook)}
    if args.json:
        lived = {} if history is None else {"history": to_json(history)}
        show_json({**shown, **lived, "others": [{**facts(one), **details(one.alert)} for one in others]})
    else:
        show_facts((name.replace("_", " "), value) for name, value in _flat(shown))
        for one in others:
            print(f"also in partition {one.partition}: {one.alert.status.value}, {_seen(one.alert)}")
        if history is not None:
            show_history(history)
    return 0


def _seen(alert: Alert) -> str:
    times = "once" if alert.occurrences == 1 else f"{alert.occurrences} times"
    return f"seen {times}, last at {moment(alert.last_seen)}"


def _flat(facts: dict[str, Any]) -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            flat += [(f"{name} {inner}", fact) for inner, fact in _flat(value)]
        elif isinstance(value, list):
            flat.append((name, ", ".join(value)))
        else:
            flat.append((name, value))
    return flat
