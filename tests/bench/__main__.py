"""``python -m tests.bench [FIGURE …] [--quick] [--profile] [--against COMMIT]``: this machine's, beside bare loops.

A run takes some minutes. The sides of a figure are measured by turns, and a figure is the median, so that other work on
the machine disturbs both alike: compare ratios, not figures, between machines. A missed aim is told and is no error. A
run of all figures writes ``RESULTS.md`` beside this file.
"""

import argparse
import asyncio
import contextlib
import os
import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench.against import checkout, measured
from tests.bench.dispatch import dispatch
from tests.bench.firehose import firehose, storm
from tests.bench.ingest import ingest
from tests.bench.latency import latency
from tests.bench.members import members
from tests.bench.report import Row, markdown, table
from tests.bench.restore import restore
from tests.bench.setting import Setting
from tests.bench.simulate import simulate
from tests.bench.size import size
from tests.support.broker import IMAGE, docker_trouble, embedded, kafka_container

FIGURES: Mapping[str, Callable[[Setting], Awaitable[list[Row]]]] = {
    figure.__name__: figure for figure in (firehose, storm, dispatch, latency, restore, members, size, ingest, simulate)
}


RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    with _broker() as (servers, broker):
        print(f"{broker}; Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
        setting = Setting(servers, quick=options.quick, profile=options.profile)
        with checkout(options.against) if options.against else contextlib.nullcontext() as there:
            rows = _measure(options.figures or list(FIGURES), setting, there)
        if not (options.figures or setting.quick or setting.profile):
            RESULTS.write_text(_page(rows, broker, options.against))
    if setting.profile:
        print("under the profiler, which slows down what it measures:")
    print(table(rows))


def _measure(figures: Sequence[str], setting: Setting, there: Path | None) -> list[Row]:
    """The rows of these figures, each beside what the commit in the folder ``there`` makes of it."""
    rows: list[Row] = []
    for figure in figures:
        found = asyncio.run(run([figure], setting))
        if there is not None:
            print(f"measuring {figure} of the other commit …", flush=True)
            before = measured(there, figure, ["--quick"] if setting.quick else [])
            found = [replace(row, before=before.get(row.figure)) for row in found]
        rows += found
    return rows


def _page(rows: Sequence[Row], broker: str, against: str | None) -> str:
    beside = f" Beside it, in the same run: `{against}`." if against else ""
    return (
        "# Figures\n\n"
        f"Written by `make bench`: {broker}; Python {platform.python_version()}, {os.cpu_count()} cores. Other work on "
        f"the machine disturbs a figure and its reference alike: compare ratios.{beside}\n\n{markdown(rows)}"
    )


async def run(figures: Sequence[str], setting: Setting) -> list[Row]:
    """The rows of these figures, one figure after the other."""
    rows: list[Row] = []
    for name in figures:
        print(f"measuring {name} …", flush=True)
        rows += await FIGURES[name](setting)
    return rows


@contextlib.contextmanager
def _broker() -> Iterator[tuple[str, str]]:
    """Its address, and what it is."""
    trouble = docker_trouble()
    if trouble is None:
        with kafka_container() as kafka:
            yield kafka.bootstrap_servers, f"Apache Kafka ({IMAGE} in Docker)"
    else:
        with embedded() as servers:
            yield servers, f"the embedded broker (its figures are not Kafka's), because {trouble}"


def _figure(name: str) -> str:
    if name not in FIGURES:
        raise argparse.ArgumentTypeError(f"{name}: choose from {', '.join(FIGURES)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n\n")[2])
    parser.add_argument("figures", nargs="*", type=_figure, metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--quick", action="store_true", help="small sizes, once each: whether it runs at all")
    parser.add_argument("--against", metavar="COMMIT", help="measure that commit too, in the same run")
    parser.add_argument("--profile", action="store_true", help="print where the measured process spends its time")
    return parser


if __name__ == "__main__":
    main()
