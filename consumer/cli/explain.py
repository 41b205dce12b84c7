"""``explain``: why an event pages, or does not (design section 23). It sends nothing, and writes nothing."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from consumer.cli.alert_history import AlertHistory, history_of, show_history, steps_about, to_json
from consumer.cli.arguments import add_config, text
from consumer.cli.explain_shown import show_explanation, show_life
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.recorded import read_topic, since
from consumer.cli.terminal import complain, show_json
from consumer.cli.with_configuration import UsageError, with_configuration
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.deciding.pipeline import Pipeline
from consumer.events.event import FetchedRecord, SecurityEvent
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_alerts
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.silences.reader import read_silences
from consumer.tuning.explain import Configured, Explanation, Question, explain
from consumer.tuning.files import FileTrouble
from consumer.tuning.life import KeyLife, Search, place
from consumer.tuning.lines import BrokenLine, record_of
from consumer.tuning.order import Timed
from providers.errors import text_of
from providers.timestamps import utc
from state.alert import Alert
from state.violation import Record

Alerts = Mapping[str, Mapping[str, Alert]]
"""The alerts of the state topics, by provider and dedup key."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say why an event pages somebody, or does not",
        description="Shows each step of an event's way with its reason; sends and writes nothing. An event of a file "
        "is decided as if it came now, beside the alerts that there are; one of the topic as it was decided then.",
    )
    add_config(parser, among=_file_among_events)
    parser.add_argument(
        "events", metavar="EVENT.json", nargs="*", help="an event, or a line that simulate has exported"
    )
    parser.add_argument("--event-id", metavar="ID", type=text, help="the event of the topic with this id")
    parser.add_argument("--dedup-key", metavar="KEY", type=text, help="all that became of this key")
    parser.add_argument(
        "--since",
        metavar="T",
        type=since,
        default="24h",
        help="how far back the topic is read: RFC 3339, or how long ago (24h)",
    )
    add_provider(parser, help="only this provider")
    parser.add_argument(
        "--no-state", action="store_true", help="an event of a file, as if there were no alert; no Kafka"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(func=main)


def _file_among_events(args: argparse.Namespace) -> Path | None:
    """The configuration as a bare file: behind the event's, or alone where the event is not in a file."""
    is_elsewhere = args.event_id is not None or args.dedup_key is not None
    return Path(args.events.pop()) if len(args.events) > (0 if is_elsewhere else 1) else None


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if there is no such event, or Kafka is out of reach; 2 for the arguments and the configuration."""

    def checked(config: Config) -> Config:
        given = [*args.events, *(one for one in (args.event_id, args.dedup_key) if one is not None)]
        if len(given) != 1:
            raise UsageError("which event? Give one of EVENT.json, --event-id ID and --dedup-key KEY")
        if args.no_state and not args.events:
            raise UsageError("--no-state: only with EVENT.json")
        if args.provider is not None and args.provider not in config.pipelines:
            raise not_configured(args.provider)
        return config

    def topics(config: Config) -> Sequence[str]:
        checked(config)
        return [] if args.events else [config.kafka.topics.events]

    def optional(config: Config) -> Sequence[str]:
        states = [config.kafka.state_topic(one.pipeline.provider.name) for one in _configured(args, config)]
        topics = config.kafka.topics
        return [*states, topics.silences] if args.event_id is None else [*states, topics.silences, topics.history]

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        silences = KnownSilences()
        if there := partitions.get(config.kafka.topics.silences):
            silences, wrong = await read_silences(clients, there)
            complain(wrong)
        alerts = {
            one.pipeline.provider.name: await _alerts(one.pipeline, clients, partitions)
            for one in _configured(args, config)
        }
        if args.events:
            return _explain_file(args, config, alerts, silences)
        explain_found = _explain_id if args.event_id is not None else _explain_key
        return await explain_found(args, config, clients, partitions, alerts, silences)

    if args.no_state:
        return with_configuration(args.config, lambda config: _explain_file(args, checked(config), {}))
    return run_with_kafka(args, topics, act, optional)


def _configured(args: argparse.Namespace, config: Config, silences: KnownSilences | None = None) -> list[Configured]:
    """The pipelines that are asked about, with these ``silences`` (None: none is known)."""
    return [
        Configured.of(config, replace(pipeline, silences=silences or KnownSilences()))
        for pipeline in build_pipelines(config)
        if args.provider in (None, pipeline.provider.name)
    ]


async def _alerts(pipeline: Pipeline, clients: KafkaClients, partitions: Partitions) -> Mapping[str, Alert]:
    """The alerts of a state topic, if it is there; of a key in several partitions the one that was heard of last."""
    there = partitions.get(pipeline.state_topic)
    if not there:
        complain([f"topic {pipeline.state_topic} does not exist: it is explained as if there were no alert"])
        return {}
    alerts, corrupt = await read_alerts(clients, there)
    complain(corrupt)
    return {alert.dedup_key: pipeline.placed(alert) for _, alert in sorted(alerts, key=lambda one: one[1].decided)}


# an event of a file


def _explain_file(
    args: argparse.Namespace, config: Config, alerts: Alerts, silences: KnownSilences | None = None
) -> int:
    given, now = _read(Path(args.events[0]), time.time()), time.time()
    known = "by --no-state" if args.no_state else "by the state topic"
    found = []
    for one in _configured(args, config, silences):
        record = _as_produced(given, one.pipeline)
        of_provider = alerts.get(one.pipeline.provider.name, {})
        found.append(explain(one, Question(record, now, of_provider.get, known)))
    if args.json:
        show_json({"event": place(given), "providers": [explanation.to_json() for explanation in found]})
    else:
        for explanation in found:
            show_explanation(explanation)
    return 0


def _read(path: Path, now: float) -> Record:
    try:
        value = path.read_bytes()
    except OSError as error:
        raise FileTrouble(f"{path}: {error.strerror or text_of(error)}") from None
    try:
        record = record_of(value, 0)
    except BrokenLine:
        record = Record("", 0, 0, 0, None, value)  # poison, which is explained as such
    if record.topic:
        return record
    return Record("", 0, 0, int(now * 1000), None, value)


def _as_produced(record: Record, pipeline: Pipeline) -> Record:
    """An event alone has no record key; with the one that it should have."""
    event = pipeline.decoder.decode(record)
    if record.topic or pipeline.record_key is None or not isinstance(event, SecurityEvent):
        return record
    lacks = pipeline.record_key.check(event, None)
    key = None if lacks is None or lacks.expected is None else lacks.expected.encode()
    return Record("", record.partition, record.offset, record.timestamp, key, record.value)


# an event, or a key, of the topic


async def _explain_id(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    partitions: Partitions,
    alerts: Alerts,
    silences: KnownSilences,
) -> int:
    search = Search(_configured(args, config, silences), args.event_id)

    def take(records: Sequence[Timed]) -> bool:
        return not any(search.take(record, at) for at, _, record in records)

    await read_topic(config, clients, partitions, args.since, take)
    if search.record is None:
        complain(
            [f"there is no event {args.event_id} in {config.kafka.topics.events} since {utc(args.since)} (--since)"]
        )
        return 1
    record, history = search.record, partitions.get(config.kafka.topics.history, ())
    told = {explanation.provider: _told_last(record, alerts, explanation) for explanation in search.explanations}
    inputs = {one.pipeline.provider.name: one.pipeline.input_topic for one in _configured(args, config)}
    lived = {
        one.provider: await _what_came_of(
            args.event_id, record, clients, history, one, is_input=inputs[one.provider] == record.topic
        )
        for one in search.explanations
    }
    if args.json:
        providers = [
            {**one.to_json(), "state": told[one.provider], "history": to_json(lived[one.provider])}
            for one in search.explanations
        ]
        show_json({"event": place(record), "providers": providers})
        return 0
    print(place(record))
    for explanation in search.explanations:
        show_explanation(explanation, now=told[explanation.provider])
        show_history(lived[explanation.provider])
    return 0


async def _what_came_of(
    event_id: str,
    record: FetchedRecord,
    clients: KafkaClients,
    partitions: Sequence[TopicPartition],
    explanation: Explanation,
    *,
    is_input: bool,
) -> AlertHistory:
    """What the history tells of the event, if it concerns an alert. ``is_input``: it has the place in the pipeline's
    input that its record has, for there is no stage before the pipeline."""
    if (key := _key_of(explanation)) is None:
        return AlertHistory()
    since = record.timestamp / 1000
    history = await history_of(clients, partitions, key, [explanation.provider], since=since, of_all=True)
    about = steps_about(history.steps, event_id, (record.partition, record.offset) if is_input else None)
    if history.steps and not about:
        history.notes.append(f"no step is about this event alone; `alerts show` has those of {key}")
    return AlertHistory(about, history.notes)


def _key_of(explanation: Explanation) -> str | None:
    return next((step.facts["dedup_key"] for step in explanation.steps if "dedup_key" in step.facts), None)


def _told_last(record: FetchedRecord, alerts: Alerts, explanation: Explanation) -> str | None:
    """What the state topic says of the event's key today; None if the event has no key."""
    if (key := _key_of(explanation)) is None:
        return None
    alert = alerts.get(explanation.provider, {}).get(key)
    if alert is None:
        return "no alert of this key is open any more"
    source, told = alert.source, alert.last_notified
    says = f"{alert.status.value}, with {alert.occurrences:,} events, the last at {utc(alert.last_seen)}"
    if told is None or source is None:
        return f"{says}; not told yet"
    is_this = (source.topic, source.partition, told.offset) == (record.topic, record.partition, record.offset)
    which = "this event" if is_this else "another event"
    return f"{says}; told last at {utc(told.at)}, of {which}"


async def _explain_key(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    partitions: Partitions,
    alerts: Alerts,
    silences: KnownSilences,
) -> int:
    lives = [KeyLife(one, args.dedup_key) for one in _configured(args, config, silences)]

    def take(records: Sequence[Timed]) -> bool:
        for life in lives:
            for at, _, record in records:
                life.take(record, at)
        return True

    await read_topic(config, clients, partitions, args.since, take)

    def now(life: KeyLife) -> Alert | None:
        return alerts.get(life.configured.pipeline.provider.name, {}).get(args.dedup_key)

    found = [life for life in lives if life.counts or now(life) is not None]
    for life in found:
        life.simulated.finish(time.time())
    if not found:
        since_when = f"since {utc(args.since)} (--since)"
        complain([f"there is no alert with the dedup key {args.dedup_key}, and no event of it {since_when}"])
        return 1
    if args.json:
        show_json({"dedup_key": args.dedup_key, "providers": [_life_to_json(life, now(life)) for life in found]})
        return 0
    for life in found:
        show_life(life, now(life))
    return 0


def _life_to_json(life: KeyLife, alert: Alert | None) -> dict[str, Any]:
    told = life.told
    return {
        "provider": life.configured.pipeline.provider.name,
        "status": None if alert is None else alert.status.value,
        "counts": dict(life.counts),
        "happened": [{"at": utc(one.at), "what": one.what, "why": one.why} for one in life.happened],
        "told_last": None if told is None else {"event": place(told[0]), **told[1].to_json()},
    }
