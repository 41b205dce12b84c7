"""``python -m tests.chaos [--minutes 35] [--seed N] [--brokers 3]``: every crash, every fault alone, the troubles that
stay, then all together.

Exit code 1 if anything is lost, doubled, wrongly resolved, late or stuck. A seed gives the same traffic and the same
faults in the same order; when exactly they strike depends on the machine.
"""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.changes import CHANGES
from tests.chaos.crashes import enumerate_crashes, rows_of
from tests.chaos.faults import CATALOG
from tests.chaos.lasting import BAD_HOURS, LASTING, in_order
from tests.chaos.run import Run
from tests.chaos.setting import Node, brokers, setting
from tests.chaos.soak import STATE_CONFIGS, soak
from tests.chaos.table import Row, page, table

TOGETHER_SECONDS = (60.0, 240.0)
"""A phase of all faults together is so long, at least and at most: the longer it is, the less is waited for quiet."""
SETTLED_SECONDS = 90.0
"""So long it takes until such a phase is quiet, and then until all is resolved at the end."""
LASTING_TOGETHER = (2, 5)
"""So many troubles that stay, from and to, are there at a time in a phase of all faults together."""


RESULTS = Path(__file__).with_name("RESULTS.md")
"""A whole run without a failure writes its table there."""


def main() -> int:
    """Run, print the table."""
    options = _parser().parse_args()
    options.per_second = options.per_second or (2000.0 if options.soak else 40.0)
    folder = options.logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of a broker that is away its clients have much to say
    print(f"seed {options.seed}, {options.brokers} broker(s), {options.members} members, logs in {folder}", flush=True)
    started = time.monotonic()
    with brokers(options.brokers) as nodes:
        if options.soak:
            return asyncio.run(_soak(options, nodes, folder))
        rows = asyncio.run(_run(options, nodes, folder, started + options.minutes * 60))
    print(table(rows))
    failures = [f"{row.name}: {failure}" for row in rows for failure in row.failures]
    minutes = (time.monotonic() - started) / 60
    print(f"{len(failures)} failures in {minutes:.1f} minutes")
    if not (options.only or options.crashes or options.together or failures):
        facts = f"Seed {options.seed}, {options.members} members, {os.cpu_count()} cores, {minutes:.0f} minutes."
        RESULTS.write_text(page(RESULTS.read_text(), rows, options.brokers, facts))
    return 1 if failures else 0


async def _soak(options: argparse.Namespace, nodes: Sequence[Node], folder: Path) -> int:
    async with setting(nodes, providers=options.providers, state_configs=STATE_CONFIGS) as where:
        result = await soak(where, folder, seed=options.seed, minutes=options.soak, per_second=options.per_second)
    print(result.report())
    print("\n".join(f"FAILED {failure}" for failure in result.failures))
    return 1 if result.failures else 0


async def _run(options: argparse.Namespace, nodes: Sequence[Node], folder: Path, until: float) -> list[Row]:
    rows: list[Row] = []
    async with setting(nodes, providers=options.providers) as where:
        if options.crashes or not (options.only or options.together):
            rows += rows_of(await enumerate_crashes(where, folder, tell=lambda line: print(line, flush=True)))
            if options.crashes:
                return rows
        run = Run(where, folder, seed=options.seed, members=options.members, per_second=options.per_second)
        async with run.going():
            for name in options.only or ([] if options.together else _phases(with_changes=options.changes)):
                if name in CHANGES:
                    await run.changing(CHANGES[name])
                elif name in CATALOG:
                    await run.alone(CATALOG[name], options.times)
                else:
                    await run.lasting(name, in_order(BAD_HOURS.get(name, [name])))
            chance, has_been_together = random.Random(f"{options.seed}/lasting"), False
            while not options.only:
                seconds = _together_seconds(until - time.monotonic(), is_first=not has_been_together)
                if seconds is None:
                    break
                has_been_together = True
                chosen = chance.sample(list(LASTING), chance.randint(*LASTING_TOGETHER))
                await run.together(seconds, lasting=in_order(chosen))
        rows += run.rows
    return rows


def _phases(*, with_changes: bool) -> list[str]:
    """The phases before all is together, by name."""
    return [*CATALOG, *BAD_HOURS, *(CHANGES if with_changes else ())]


def _together_seconds(left: float, *, is_first: bool) -> float | None:
    """How long the next phase of all faults together is with so many seconds left; None if there is no time for one.

    There is always a first one.
    """
    least, most = TOGETHER_SECONDS
    seconds = min(most, left - SETTLED_SECONDS)
    if seconds >= least:
        return seconds
    return least if is_first else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=35.0, help="how long in all (every fault is met once anyway)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--per-second", type=float, help="events (40, in a soak 2000)")
    parser.add_argument("--times", type=int, default=2, help="how often each fault strikes alone")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*CATALOG, *LASTING, *BAD_HOURS, *CHANGES],
        help="only this, alone; repeatable",
    )
    parser.add_argument("--changes", action="store_true", help="also phases in which topics, keys and templates change")
    parser.add_argument("--crashes", action="store_true", help="only the crashes at every step")
    parser.add_argument("--together", action="store_true", help="only phases of all faults together")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a steady load for so long instead")
    parser.add_argument("--providers", nargs="+", default=["pagerduty", "opsgenie"])
    parser.add_argument("--logs", type=Path, help="the folder for the members' logs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
