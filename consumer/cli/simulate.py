"""``simulate``: what a configuration would have told, of what really happened (design section 23)."""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from consumer.cli.arguments import add_config, count
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.recorded import read_file, read_topic, since
from consumer.cli.silences_file import read_silences_file
from consumer.cli.simulate_shown import show
from consumer.cli.terminal import complain, show_json
from consumer.cli.with_configuration import UsageError, with_configuration
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config, load_config
from consumer.kafka.clients import KafkaClients
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.tuning.bounds import COMPARED, Bound
from consumer.tuning.compared import Comparison, Version
from consumer.tuning.explain import Configured
from consumer.tuning.files import Export
from consumer.tuning.order import Timed
from consumer.tuning.tally import side_of
from providers.timestamps import utc


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="say what a configuration would have told people of past events",
        description="Decides recorded events as the service would, at their times, with a provider that accepts. "
        "It begins without an alert, so what was open before counts as new. It writes nothing to Kafka.",
    )
    add_config(parser)
    parser.add_argument("--against", metavar="OLD", type=Path, help="a configuration to compare with")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--since", metavar="T", type=since, help="the events topic: RFC 3339, or how long ago (24h, 7d)"
    )
    source.add_argument(
        "--input", metavar="FILE", type=Path, help="a file of JSON lines, also .gz; - is standard input"
    )
    add_provider(parser, help="only this one")
    parser.add_argument(
        "--silences",
        metavar="FILE",
        help="what `silences export` has printed, those that are over too (without: nothing was silenced)",
    )
    parser.add_argument("--keys", metavar="N", type=count, default=10, help="so many of the noisiest keys (10)")
    parser.add_argument(
        "--fail-on",
        metavar="BOUND",
        type=_bound,
        action="append",
        default=[],
        help="exit code 1 if it holds for a provider, such as 'pages>100'; can be repeated",
    )
    parser.add_argument("--export", metavar="FILE", type=Path, help="write the events that are read, also .gz")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if a bound of ``--fail-on`` holds, a file cannot be read, or Kafka is out of reach; 2 for the
    configuration."""
    if args.against is None and (compared := [bound.text for bound in args.fail_on if bound.name in COMPARED]):
        raise UsageError(f"--fail-on {compared[0]}: needs --against, to compare with")
    given = [one for one in (args.input, args.export) if one is not None and one.exists()]
    if len(given) == 2 and given[0].samefile(given[1]):
        raise UsageError("--export: is the file that is read")
    if args.input is not None:
        return with_configuration(args.config, lambda config: _of_file(args, config))

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        with _Run(args, config) as run:
            await read_topic(config, clients, partitions, args.since, run.take)
            run.end(time.time())
        return run.tell()

    return run_with_kafka(args, lambda config: [config.kafka.topics.events], act)


def _of_file(args: argparse.Namespace, config: Config) -> int:
    with _Run(args, config) as run:
        read_file(args.input, run.take)
        run.end(run.last)
    return run.tell()


def _bound(text: str) -> Bound:
    try:
        return Bound.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


class _Run:
    """One simulation: what it reads, and what comes of it."""

    def __init__(self, args: argparse.Namespace, config: Config) -> None:
        self._args = args
        self._comparisons = _comparisons(args, config)
        self._stack = ExitStack()
        self._export = None if args.export is None else Export(args.export)
        self._events = 0
        self._first: float | None = None
        self.last = 0.0

    def __enter__(self) -> "_Run":
        if self._export is not None:
            self._stack.enter_context(self._export)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def take(self, records: Sequence[Timed]) -> bool:
        """Decide these."""
        if not records:
            return True
        self._events += len(records)
        if self._first is None:
            self._first = records[0][0]
        for comparison in self._comparisons.values():
            decide = comparison.decide if self._args.against is not None else _only(comparison)
            for at, _, record in records:
                decide(record, at)
        self.last = max(self.last, records[-1][0])
        if self._export is not None:
            self._export.write(record for _, _, record in records)
        return True

    def end(self, until: float) -> None:
        """Nothing more occurs until then."""
        self.last = max(self.last, until)
        for comparison in self._comparisons.values():
            for version in (comparison.new, comparison.old):
                if version is not None:
                    version.side.finish(self.last)

    def tell(self) -> int:
        """Say what came of it; the exit code."""
        report = self._report()
        if self._args.json:
            show_json(report)
        else:
            show(report)
        exceeded = list(self._exceeded(report["providers"]))
        complain(exceeded)
        return 1 if exceeded else 0

    def _report(self) -> dict[str, Any]:
        return {
            "events": self._events,
            "from": None if self._first is None else utc(self._first),
            "until": None if self._first is None else utc(self.last),
            "providers": {name: self._of(one) for name, one in self._comparisons.items()},
        }

    def _of(self, comparison: Comparison) -> dict[str, Any]:
        new, old = comparison.new, comparison.old
        found: dict[str, Any] = {} if new is None else new.side.report(self._args.keys)
        if self._args.against is not None:
            found["against"] = {
                **({} if old is None else old.side.numbers()),
                "gone": comparison.gone.to_json(),
                "new": comparison.added.to_json(),
            }
        return found

    def _exceeded(self, providers: Mapping[str, Mapping[str, Any]]) -> Any:
        for name, found in providers.items():
            against = found.get("against", {})
            numbers = {
                **dict.fromkeys(COMPARED, 0),
                **{key: found.get(key, 0) for key in _NUMBERS},
                **({"new_pages": against["new"]["pages"], "gone_pages": against["gone"]["pages"]} if against else {}),
            }
            for bound in self._args.fail_on:
                if bound.holds(numbers):
                    yield f"{name}: {bound.text}: there would be {numbers[bound.name]:,} {bound.name.replace('_', ' ')}"


_NUMBERS = ("pages", "updates", "resolves", "notifications", "suppressed", "dead_letters", "open")


def _only(comparison: Comparison) -> Any:
    assert comparison.new is not None
    return comparison.new.side.simulated.decide


def _comparisons(args: argparse.Namespace, config: Config) -> dict[str, Comparison]:
    silences = KnownSilences()
    if args.silences is not None:
        silences = KnownSilences(read_silences_file(args.silences)[1])
    new = _versions(config, silences)
    old = {} if args.against is None else _versions(load_config(args.against), silences)
    names = list(dict.fromkeys((*new, *old)))
    if args.provider is not None:
        if args.provider not in names:
            raise not_configured(args.provider)
        names = [args.provider]
    return {name: Comparison(new.get(name), old.get(name)) for name in names}


def _versions(config: Config, silences: KnownSilences) -> dict[str, Version]:
    pipelines = [replace(pipeline, silences=silences) for pipeline in build_pipelines(config)]
    return {one.provider.name: Version(Configured.of(config, one), side_of(one)) for one in pipelines}
