"""The command line of the demo: usage, and what is missing."""

import asyncio
import os
import re
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consumer.cli import demo
from consumer.cli.main import main
from consumer.demo.broker import EmbeddedBrokerMissing
from consumer.demo.demo import DemoError, Options, Stopped
from consumer.demo.engine import EngineMissing

ARGS = Namespace(seconds=1.0, keep=False, open=False, bootstrap_servers=None)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The demo keeps the signals to the end of its process, which is not the end of this one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
    assert main(["demo", "--seconds", "1"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_outcome_of_the_check(passed: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(*_: Any) -> bool:
        return passed

    monkeypatch.setattr(demo, "run_demo", ends)
    assert demo.main(ARGS) == code


# --- Ctrl-C


def _interrupt(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


async def test_the_first_one_ends_the_traffic_and_the_check_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def runs(options: Any, console: Any, stopping: asyncio.Event, checked: Callable[[bool], object]) -> bool:
        _interrupt(signal.SIGINT)
        await asyncio.wait_for(stopping.wait(), 5)
        return True

    monkeypatch.setattr(demo, "run_demo", runs)
    run = demo._Run()
    run.interrupts.catch()
    assert await run.demo(Options())


def test_the_second_one_leaves_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def runs(options: Any, console: Any, stopping: asyncio.Event, checked: Callable[[bool], object]) -> bool:
        _interrupt(signal.SIGINT, signal.SIGTERM)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(demo, "run_demo", runs)
    assert main(["demo", "--seconds", "1"]) == 1
    assert capsys.readouterr().err == "stopped: nothing was checked\n"


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_behind_the_check_the_outcome_stands_however_often_it_comes(
    passed: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def runs(options: Any, console: Any, stopping: asyncio.Event, checked: Callable[[bool], object]) -> bool:
        checked(passed)
        for _ in range(3):
            _interrupt(signal.SIGINT)
            await asyncio.sleep(0.01)
        return passed

    monkeypatch.setattr(demo, "run_demo", runs)
    assert demo.main(ARGS) == code
    _interrupt(signal.SIGINT)  # the interpreter is about to end: nothing comes of it


def test_one_that_comes_before_the_demo_runs_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def runs(options: Any, console: Any, stopping: asyncio.Event, checked: Callable[[bool], object]) -> bool:
        await asyncio.wait_for(stopping.wait(), 5)
        return True

    def early(run: Any) -> Any:
        _interrupt(signal.SIGINT)
        return real(run)

    real = asyncio.run
    monkeypatch.setattr(demo, "run_demo", runs)
    monkeypatch.setattr(asyncio, "run", early)
    assert demo.main(ARGS) == 0
