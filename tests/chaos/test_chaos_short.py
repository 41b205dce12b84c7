"""The chaos suite in a few minutes, of a fixed seed. The long one is `make chaos`."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.crashes import enumerate_crashes, rows_of
from tests.chaos.faults import CATALOG
from tests.chaos.lasting import WEBHOOKS, in_order
from tests.chaos.run import Run
from tests.chaos.setting import brokers, setting
from tests.chaos.table import Row, table

SEED = 20
TOGETHER_SECONDS = 25.0

pytestmark = [pytest.mark.chaos, pytest.mark.real_kafka("members that die are missed, brokers are killed")]


@pytest.fixture(autouse=True)
def _quiet_clients() -> Iterator[None]:
    """The harness's own clients have much to say about a broker that is away."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


async def test_members_that_die_and_freeze_a_broker_that_is_killed_and_everything_together(tmp_path: Path) -> None:
    with brokers(1) as nodes:
        async with setting(nodes, providers=["pagerduty", "opsgenie"]) as where:
            run = Run(where, tmp_path, seed=SEED, members=3, per_second=30)
            async with run.going():
                for name in ("SIGSTOP > session", "broker killed"):
                    await run.alone(CATALOG[name], 1)
                await run.together(TOGETHER_SECONDS)
            _assert_nothing_went_wrong(run.rows)


BAD_HOUR = ("one in 20 refused: 503", "one in 20 refused: 400", "a route's key revoked", "a clock up to a year off")


async def test_what_stays_wrong_for_long_costs_nobody_else_a_page(tmp_path: Path) -> None:
    with brokers(1) as nodes:
        async with setting(nodes, providers=["pagerduty", "opsgenie"]) as where:
            run = Run(where, tmp_path, seed=SEED, members=3, per_second=30)
            async with run.going():
                await run.lasting("a bad hour", in_order(BAD_HOUR))
            _assert_nothing_went_wrong(run.rows)


async def test_no_live_problem_ends_by_an_old_webhook_and_nothing_is_lost_by_a_late_one(tmp_path: Path) -> None:
    with brokers(1) as nodes:
        async with setting(nodes, providers=["pagerduty", "opsgenie"]) as where:
            run = Run(where, tmp_path, seed=SEED, members=3, per_second=30)
            async with run.going():
                await run.together(TOGETHER_SECONDS, [CATALOG["kill -9"]], in_order([WEBHOOKS]))
            _assert_nothing_went_wrong(run.rows)


STEPS = {
    "taking over": ("after own#1", "after prove#1", "after restore#1"),
    "running": (
        *("before deliver trigger#1", "after deliver trigger#1", "after all sends#1", "after commit#1"),
        *("before deliver resolve#1", "after deliver resolve#1", "before commit#3"),
    ),
    "leaving": ("before prove#1",),
}
"""Between any two of these something has happened that another system knows of. The long run takes all steps."""


async def test_a_member_that_crashes_at_a_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with brokers(1) as nodes:
        async with setting(nodes) as where:
            crashes = await enumerate_crashes(where, tmp_path, steps=STEPS)
    assert {crash.step for crash in crashes if crash.was_reached} == {
        step for steps in STEPS.values() for step in steps
    }
    _assert_nothing_went_wrong(rows_of(crashes))


def _assert_nothing_went_wrong(rows: list[Row]) -> None:
    print(table(rows))
    assert not [f"{row.name}: {failure}" for row in rows for failure in row.failures], f"\n{table(rows)}"
