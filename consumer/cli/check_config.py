"""``check-config FILE``: says what would run, and sends nothing."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from consumer.cli.arguments import add_config
from consumer.cli.terminal import complain
from consumer.config import (
    UNKEYED,
    AutoResolve,
    Config,
    ProviderSection,
    load_config,
    needs_repartition,
    without_effect,
)
from consumer.events.keys import KeyTemplate
from providers.table import build

Line = tuple[str, str]
"""The label of a line and its text; the label is empty where the line before goes on."""

_WIDTH = 17


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check-config", help="say what a configuration would run", description="Says what would run; sends nothing."
    )
    add_config(parser)
    parser.add_argument(
        "--state",
        action="store_true",
        help="also say what it would mean for the open alerts, which are read from Kafka",
    )
    parser.add_argument("--json", action="store_true", help="with --state: print only its result, as JSON for programs")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Check ``args.config``. Exit code 0 if it is valid; 2 if not, with a line for each problem on stderr.

    Settings that have no effect because of others are warnings on stderr. With ``args.state`` the exit code is 1 if
    Kafka is out of reach, or has no such state topics.
    """
    if args.json and not args.state:
        complain(["--json: only with --state"])
        return 2
    if args.json:
        return _tell_standings(args.config, as_json=True)
    config = load_config(args.config)
    code = check_config(config, print)
    complain(f"warning: {sentence}" for sentence in without_effect(config))
    if code or not args.state or not config.pipelines:
        return code
    print()
    return _tell_standings(args.config, as_json=False)


def _tell_standings(file: Path, *, as_json: bool) -> int:
    from consumer.cli.standings import tell_standings  # imports Kafka's client, which is not needed without --state

    return tell_standings(file, as_json=as_json)


def check_config(config: Config, out: Callable[[str], None]) -> int:
    """Tell ``out``, line by line, what ``config`` would run: names only, never a key. Returns the exit code, 0.

    Raises `UnusableProvider` where `run` would.
    """
    if not config.pipelines:
        reason = "no provider is configured" if config.exporters.alerting.enabled else "alerting is not enabled"
        out(f"valid, but {reason}: `run` would say so and exit")
        return 0
    for name, section in config.sections.items():
        build(name, section)
    out("valid; this would run:")
    for line in _service(config):
        out(_row(line))
    for name, section in config.sections.items():
        out("")
        out(f"pipeline {name}")
        for line in _pipeline(config, name, section):
            out(_row(line))
    return 0


def _row(line: Line) -> str:
    label, text = line
    return f"  {label:<{_WIDTH}}{text}"


def _service(config: Config) -> Iterator[Line]:
    kafka, alerting = config.kafka, config.exporters.alerting
    keyed_by = "without a key" if kafka.event_key == UNKEYED else f"keyed by {kafka.event_key}"
    yield "kafka", f"{kafka.bootstrap_servers} ({kafka.security.protocol})"
    yield "events", f"{kafka.topics.events}, {keyed_by}"
    yield "dead letters", kafka.topics.dlq
    yield "feedback", kafka.topics.feedback
    yield "history", kafka.topics.history if config.history.enabled else "none"
    yield "silences", kafka.topics.silences
    yield "alertable", f"denials of severity {alerting.min_severity.label} and above"
    yield from _selection("guards", alerting.include_guards, alerting.exclude_guards)
    yield from _selection("event types", alerting.include_event_types, alerting.exclude_event_types)
    yield "http", f"{config.server.host}:{config.server.port}"


def _selection(what: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[Line]:
    if include:
        yield "", f"{what}: only {', '.join(include)}"
    if exclude:
        yield "", f"{what}: not {', '.join(exclude)}"


def _pipeline(config: Config, name: str, section: ProviderSection) -> Iterator[Line]:
    kafka, keys = config.kafka, section.deduplication
    template = KeyTemplate.parse(keys.key_template)
    yield "group", kafka.group(name)
    yield "state topic", kafka.state_topic(name)
    yield "endpoint", section.endpoint()
    yield "dedup key", keys.key_template
    yield "suppression", f"for {keys.window_seconds:g} s, told again after {keys.renotify_seconds:g} s"
    yield from _end(section.auto_resolve, template)
    yield "routes", ", ".join(section.route_keys())
    yield from _retired(section.retired_keys())
    yield from section.described()
    if needs_repartition(template, kafka.event_key):
        yield "repartition", f"needed: {_why_repartition(kafka.event_key)}"
        yield "", f"group {kafka.repartition_group(name)} forwards what concerns this pipeline"
        yield "", f"to {kafka.keyed_topic(name)}, where {_met_by(template)} meet,"
        yield "", f"and keeps its positions in {kafka.positions_topic(name)}"
    else:
        yield "repartition", f"not needed: the dedup key contains {{{kafka.event_key}}}"


def _retired(keys: Sequence[object]) -> Iterator[Line]:
    if keys:
        yield "retired keys", f"{len(keys)}, for acknowledges and resolves of what was opened by them"


def _why_repartition(event_key: str) -> str:
    if event_key == UNKEYED:
        return "kafka.event_key is none: events of one dedup key can be in any partition"
    return f"the dedup key lacks {{{event_key}}}, kafka.event_key: its events can be in several partitions"


def _met_by(template: KeyTemplate) -> str:
    return "the events of a session" if "session_id" in template.fields else "the events of a dedup key"


def _end(ends: AutoResolve, template: KeyTemplate) -> Iterator[Line]:
    if not ends.enabled:
        yield "resolved", "never by this service (auto_resolve is not enabled)"
        return
    yield "resolved", f"after {ends.after_minutes:g} min of quiet"
    if ends.on_session_end and "session_id" in template.fields:
        yield "", "at the end of the session"
    elif ends.on_session_end:
        yield "", "not at the end of a session: on_session_end is ignored, since the dedup key"
        yield "", "lacks {session_id} and several sessions can share an alert"
    for rule in ends.on_events:
        given = rule.model_dump(exclude_none=True)
        yield "", f"by events with {', '.join(f'{key} {_spelled(value)}' for key, value in given.items())}"


def _spelled(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()
