"""The command line of the demo: usage, and what is missing."""

import re
from argparse import Namespace
from typing import Any

import pytest

from consumer.cli import demo
from consumer.cli.main import main
from consumer.demo.broker import EmbeddedBrokerMissing
from consumer.demo.demo import DemoError, Stopped
from consumer.demo.engine import EngineMissing

ARGS = Namespace(seconds=1.0, keep=False, bootstrap_servers=None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seconds", "0"],
        ["--seconds", "soon"],
        ["--seconds", "nan"],
        ["--bootstrap-servers", "localhost"],
        ["--bootstrap-servers", "localhost:0"],
        ["--unknown"],
    ],
)
def test_wrong_usage_is_said_and_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *arguments]) == 2
    assert re.search(r"^clawdstrike-alerting( demo)?: error: ", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EngineMissing("No module named 'clawdstrike'"), "pip install 'clawdstrike-alerting[demo]'"),
        (EmbeddedBrokerMissing("no embedded broker"), "pip install 'clawdstrike-alerting[demo]'"),
        (DemoError("the service ended with 1"), "the service ended with 1"),
        (Stopped(), "stopped before any traffic"),
    ],
)
def test_what_keeps_it_from_running_is_one_line_and_exits_1(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: Any) -> bool:
        raise error

    monkeypatch.setattr(demo, "run_demo", fails)
    assert demo.main(ARGS) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_outcome_of_the_check(passed: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(*_: Any) -> bool:
        return passed

    monkeypatch.setattr(demo, "run_demo", ends)
    assert demo.main(ARGS) == code
