"""``alerts stats``: what the history says of the policies, and which of them page people for nothing."""

import argparse
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from consumer.cli.arguments import add_config, count
from consumer.cli.progress import progress
from consumer.cli.provider import add_provider
from consumer.cli.terminal import complain, counted, moment, plain, show_facts, show_json, show_table, span
from consumer.cli.times import given_time, moment_of
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.history.stats import DIMENSIONS, Figures, Stats
from consumer.history.step import NoStep, decode
from consumer.kafka.clients import KafkaClients
from consumer.tuning.order import Times
from consumer.tuning.topic import records_since
from providers.errors import UserError

_SHOWN: Final = 50
"""How many groups are shown to people, unless they ask for more."""

_CLOCK_SECONDS: Final = 600.0

_LINKED: Final = re.compile(r"(?<=[@#])|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""The places within links and mentions that have no brackets."""

Group = tuple[Mapping[str, str], Figures]

_COLUMNS = ("NOISE", "PAGES", "ALERTS", "EVENTS", "SUPPRESSED/PAGE", "EARLY", "BACK", "TOLD P50", "TOLD P99", "ACK P50")


def add_stats(actions: Any) -> None:
    """Declare ``alerts stats``."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "stats",
        help="alerts, pages and noise, from the history",
        description="Alerts, pages and noise, from the history: where a policy pages people for nothing. The noise of "
        "a group is how many of its pages probably nobody needed.",
    )
    add_provider(parser)
    parser.add_argument("--since", metavar="TIME", type=given_time, default="7d", help="default 7d; or RFC 3339")
    parser.add_argument(
        "--by", metavar="A,B", type=dimensions, default=("guard", "tenant"), help=f"of {', '.join(DIMENSIONS)}"
    )
    parser.add_argument("--limit", metavar="N", type=count, default=_SHOWN, help=f"groups to show, default {_SHOWN}")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--report", metavar="FILE.md", type=Path, help="write a report for the owners of the policies")
    add_config(parser)


def dimensions(text: str) -> tuple[str, ...]:
    """What is counted by. Raises `argparse.ArgumentTypeError` for anything that is no dimension, or twice the same."""
    found = tuple(part.strip() for part in text.split(","))
    if wrong := [part for part in found if part not in DIMENSIONS]:
        raise argparse.ArgumentTypeError(f"{plain(wrong[0])} is none of {', '.join(DIMENSIONS)}")
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError("has the same twice")
    return found


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if there is no history topic, or Kafka is out of reach, or the report cannot be written; 2 for the
    configuration."""

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        now = time.time()
        since = moment_of(args.since, now)
        stats, unreadable = Stats(args.by), 0
        with progress("reading the history") as told:
            history = partitions[config.kafka.topics.history]
            async for records in records_since(clients, history, since, Times(now + _CLOCK_SECONDS), told):
                for _, _, record in records:
                    try:
                        step = decode(record.value)
                    except NoStep:
                        unreadable += 1
                        continue
                    if step.at >= since and args.provider in (None, step.provider):
                        stats.take(step)
        if unreadable:
            complain([f"{counted(unreadable, 'record')} of {config.kafka.topics.history} cannot be read"])
        show(args, list(stats.groups()), stats.total, since, sorted(stats.providers))
        return 0

    return run_with_kafka(args, lambda config: [config.kafka.topics.history], act)


def show(
    args: argparse.Namespace, groups: Sequence[Group], total: Figures, since: float, providers: Sequence[str] = ()
) -> None:
    """Print the figures of these ``providers``, and write the report if one is wanted. Raises `UserError` if that
    cannot be written."""
    if args.report is not None:
        content = report(groups, total, since, providers).encode()  # before the file is there
        try:
            args.report.write_bytes(content)
        except OSError as error:
            raise UserError(f"{args.report}: {error.strerror or error}") from error
    if args.json:
        shown = [{**values, **figures.to_json()} for values, figures in groups]
        show_json({"since": moment(since), "total": total.to_json(), "groups": shown})
        return
    if not total.occurrences and not total.pages:
        print(f"no history since {moment(since)}")
        return
    if groups and groups[0][0]:
        heads = tuple(name.upper() for name in groups[0][0])
        show_table(
            (*heads, *_COLUMNS), ([*map(_named, values.values()), *_row(one)] for values, one in groups[: args.limit])
        )
        if len(groups) > args.limit:
            print(f"{args.limit:,} of {len(groups):,} groups; --limit shows more")
        print()
    show_facts((name.replace("_", " "), _for_people(name, value)) for name, value in total.to_json().items())
    if len(providers) > 1:
        print(f"each of {', '.join(map(plain, providers))} counts for itself; --provider means one")


def report(groups: Sequence[Group], total: Figures, since: float, providers: Sequence[str] = ()) -> str:
    """What one sends to the owners of the policies, as Markdown. Names of events are hostile: they are escaped."""
    lines = [
        f"# Alerts since {moment(since)}",
        "",
        f"{counted(total.alerts, 'alert')} of {counted(total.occurrences, 'event')} led to "
        f"{counted(total.pages, 'page')}; probably {total.noise:,.1f} of these pages nobody needed.",
        *([f"Each of {', '.join(map(_escaped, providers))} counts for itself."] if len(providers) > 1 else []),
        "",
        "Noise counts the pages of problems that people ended within five minutes of being told (each page whole), and "
        "of those that ended by themselves with nobody having acknowledged them, or that came back within a day (each "
        "half).",
        "",
    ]
    if groups and groups[0][0]:
        heads = [*groups[0][0], *(head.lower() for head in _COLUMNS)]
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for values, figures in groups[:_SHOWN]:
            cells = [
                *map(_escaped, map(_named, values.values())),
                *("" if one is None else str(one) for one in _row(figures)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += [
        f"- {name.replace('_', ' ')}: {_escaped(str(shown))}"
        for name, value in total.to_json().items()
        if (shown := _for_people(name, value)) is not None
    ]
    return "\n".join(lines) + "\n"


def _row(figures: Figures) -> list[object]:
    told, late, acknowledged = (
        figures.to_told.quantile(0.5),
        figures.to_told.quantile(0.99),
        figures.to_acknowledge.quantile(0.5),
    )
    return [
        f"{figures.noise:.1f}",
        figures.pages,
        figures.alerts,
        figures.occurrences,
        f"{figures.suppressed / figures.pages:.1f}" if figures.pages else None,
        figures.early,
        figures.came_back,
        *(None if seconds is None else span(seconds) for seconds in (told, late, acknowledged)),
    ]


def _for_people(name: str, value: Any) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{who} {number:,}" for who, number in value.items()) or None
    if name.startswith("time_to_") and value is not None:
        return span(value)
    return value


def _named(value: str) -> str:
    return value or "(none)"


def _escaped(text: str) -> str:
    """The text as Markdown that shows it unchanged: it makes no link, and mentions no person and no issue. Some
    renderers find links and mentions also in escaped text, so an empty comment breaks these apart."""
    escaped = "".join(f"\\{one}" if one in "\\`*_{}[]<>()#+-!|&~" else one for one in plain(text))
    return _LINKED.sub("<!-- -->", escaped)
