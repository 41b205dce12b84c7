"""The benchmarks run, and what they count is right (each figure asserts that); their figures are another matter."""

import pytest

from tests.bench.__main__ import FIGURES, run
from tests.bench.report import table
from tests.bench.setting import Setting
from tests.support.broker import Broker

MARKS = {"members": pytest.mark.real_kafka("two members share the partitions of a group")}


@pytest.mark.parametrize("figure", [pytest.param(name, marks=MARKS.get(name, ())) for name in FIGURES])
async def test_a_figure_is_measured_beside_its_reference(
    broker: Broker, figure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = await run([figure], Setting(broker.bootstrap_servers, quick=True, profile=False))
    assert rows
    assert all(row.measured > 0 for row in rows)
    assert any(row.ratio is not None for row in rows)
    assert any(row.reached is not None for row in rows)
    assert len(table(rows).splitlines()) == len(rows) + 1
