"""Who logs waits for nobody who reads: lines wait, are dropped when too many do, and are counted."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consumer.cli import terminal
from consumer.telemetry.log import configure_log
from consumer.telemetry.log_lines import CHARACTERS, ROOM_FOR_TROUBLE, Level, ThreadedLines, write_within
from consumer.telemetry.log_metrics import LogCollector
from tests.support.log import log_as_before
from tests.support.waiting import wait_until

PIPE_BYTES = 65_536
ROOM = 100


class Pipe:
    """A pipe that nobody reads until the test does."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self._writers: list[ThreadedLines] = []

    def writer(self, room: int = ROOM) -> ThreadedLines:
        """What writes lines into it, not started."""
        self._writers.append(ThreadedLines(self.write, room=room))
        return self._writers[-1]

    def close(self) -> None:
        """Close it, behind all that write into it."""
        os.close(self.read)  # which ends a write that waits
        for writer in self._writers:
            if writer._thread.ident is not None:
                writer.close(0)
                writer._thread.join()
        os.close(self.write)

    def fill(self) -> int:
        """Write until it takes no more."""
        os.set_blocking(self.write, False)
        written = 0
        try:
            while True:
                written += os.write(self.write, b"x" * 4095 + b"\n")
        except BlockingIOError:
            os.set_blocking(self.write, True)
            return written

    def lines(self, until: str) -> list[str]:
        """Read until a line that begins so."""
        found = b""
        while not any(line.startswith(until.encode()) for line in found.split(b"\n")[:-1]):
            found += os.read(self.read, PIPE_BYTES)
        return [line for line in found.decode().split("\n") if line and not line.startswith("x")]


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    with log_as_before():
        yield


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def _started(pipe: Pipe, told: list[Mapping[Level, int]] | None = None) -> ThreadedLines:
    lines = pipe.writer()
    lines.start((told if told is not None else []).append)
    return lines


def _full(pipe: Pipe, lines: ThreadedLines) -> None:
    """Let the thread wait for the pipe with one line in its hand, and all the room be taken."""
    pipe.fill()
    lines("info", "in hand")
    while lines._waiting:
        time.sleep(0.001)
    for number in range(ROOM):
        lines("info", f"line {number}")


def test_lines_are_written_in_order_and_whole(pipe: Pipe) -> None:
    lines = pipe.writer(room=10_000)
    lines("info", "before it begins")
    lines.start(lambda dropped: None)
    for number in range(1000):
        lines("info", f"line {number} ä")
    assert lines.close(10)
    assert pipe.lines("line 999") == ["before it begins", *(f"line {number} ä" for number in range(1000))]
    assert set(lines.dropped().values()) == {0}


def test_nobody_waits_for_who_does_not_read_and_what_is_dropped_is_told(pipe: Pipe) -> None:
    told: list[Mapping[Level, int]] = []
    lines = _started(pipe, told)
    _full(pipe, lines)
    began = time.monotonic()
    for _ in range(50_000):
        lines("debug", "no room")
    lines("info", "no room")
    for number in range(ROOM_FOR_TROUBLE):
        lines("error" if number % 2 else "warning", f"trouble {number}")
    lines("error", "too much trouble")
    assert time.monotonic() - began < 5
    dropped = {"debug": 50_000, "info": 1, "warning": 0, "error": 1}
    assert lines.dropped() == dropped
    assert told == []
    read = pipe.lines(f"trouble {ROOM_FOR_TROUBLE - 1}")
    assert lines.close(10)
    assert read[1:] == [
        *(f"line {number}" for number in range(ROOM)),
        *(f"trouble {number}" for number in range(ROOM_FOR_TROUBLE)),
    ]
    assert told == [{level: count for level, count in dropped.items() if count}]
    assert lines.dropped() == dropped


def test_what_is_dropped_is_a_line_once_there_is_room(pipe: Pipe) -> None:
    lines = pipe.writer()
    log = configure_log("info", "json", frozenset(), lines)
    lines.start(lambda dropped: log.warning("log_lines_dropped", count=sum(dropped.values())))
    _full(pipe, lines)
    for _ in range(7):
        log.info("no_room")
    read = pipe.lines('{"timestamp"')
    assert lines.close(10)
    assert '"event":"log_lines_dropped","count":7' in read[-1]
    assert len([line for line in read if "log_lines_dropped" in line]) == 1


def test_long_lines_do_not_fill_the_memory(pipe: Pipe) -> None:
    lines = pipe.writer(room=10_000)
    lines.start(lambda dropped: None)
    pipe.fill()
    for _ in range(2 * CHARACTERS // 100_000):
        lines("info", "l" * 100_000)
    assert lines._characters <= CHARACTERS
    before = lines.dropped()["info"]
    assert before > 0
    lines("error", "e" * 100_000)
    assert lines.dropped() == {"debug": 0, "info": before, "warning": 0, "error": 0}


@pytest.mark.slow
def test_the_end_does_not_wait_for_who_does_not_read(pipe: Pipe) -> None:
    lines = _started(pipe)
    _full(pipe, lines)
    began = time.monotonic()
    assert not lines.close(0.2)
    lines("error", "after the end")
    assert not write_within(pipe.write, b"the last line\n", 0.2)
    assert time.monotonic() - began < 2
    assert lines.dropped()["error"] == 1
    pipe.lines("in hand")
    lines._thread.join(10)  # what was in its hand was the last
    assert not lines._thread.is_alive()


def test_what_is_said_after_the_end_is_written_at_once(pipe: Pipe) -> None:
    lines = _started(pipe)
    assert lines.close(10)
    lines("warning", "an object was left behind")
    assert pipe.lines("an object") == ["an object was left behind"]


def test_a_reader_that_is_gone_costs_lines_only() -> None:
    told: list[Mapping[Level, int]] = []
    read, write = os.pipe()
    os.close(read)
    lines = ThreadedLines(write)
    lines.start(told.append)
    lines("info", "into nothing")
    assert lines.close(10)
    lines("info", "nor this")
    assert not write_within(write, b"nor this\n", 0.1)
    os.close(write)
    assert lines.dropped()["info"] == 1
    assert told == []


def test_any_thread_may_log_also_from_within_the_log(pipe: Pipe) -> None:
    lines = pipe.writer(room=100_000)

    class Talkative:
        def __del__(self) -> None:
            lines("warning", "collected")

    lines.start(lambda dropped: None)
    with lines._changed:  # as when the collector runs in the middle of it
        Talkative()

    def write() -> None:
        for _ in range(500):
            lines("info", "line")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines.close(10)
    assert sorted(pipe.lines("line")[:1]) == ["collected"]


def test_the_level_of_a_library_counts() -> None:
    seen: list[tuple[str, str]] = []
    configure_log("debug", "json", frozenset(), lambda level, line: seen.append((level, line)))
    for number in (5, 10, 25, 30, 35, 40, 50):
        logging.getLogger("library").log(number, "said")
    assert [level for level, _ in seen] == ["warning", "warning", "error", "error"]


@pytest.mark.slow
def test_a_complaint_is_not_waited_for_for_ever(pipe: Pipe) -> None:
    pipe.fill()
    code = "from consumer.cli import terminal; terminal.complain(['the last line'])"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], stderr=pipe.write, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
    assert time.monotonic() - began < terminal.UNREAD_SECONDS + 5


PROCESS = """
import json
from consumer.telemetry.log import configure_log
from consumer.telemetry.log_lines import ThreadedLines

lines = ThreadedLines(2)
log = configure_log("debug", "json", frozenset(), lines)
lines.start(lambda dropped: log.warning("log_lines_dropped", count=sum(dropped.values())))
for number in range(30_000):
    log.info("said")
print(json.dumps(lines.dropped()), flush=True)
input()
lines.close(10)
"""


@pytest.mark.slow
def test_a_process_whose_log_nobody_reads_goes_on_and_has_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        dropped = json.loads(process.stdout.readline())
        _, log = process.communicate(b"\n")
    said = [json.loads(line) for line in log.splitlines()]
    assert dropped["info"] > 0
    assert [line["count"] for line in said if line["event"] == "log_lines_dropped"] == [dropped["info"]]
    assert len(said) == 30_000 - dropped["info"] + 1
    assert process.returncode == 0


def test_the_metric_has_a_series_for_each_level() -> None:
    registry = CollectorRegistry()
    registry.register(LogCollector(lambda: {"debug": 0, "info": 3, "warning": 0, "error": 1}))
    values = {
        level: registry.get_sample_value("clawdstrike_alerting_log_lines_dropped_total", {"level": level})
        for level in ("debug", "info", "warning", "error")
    }
    assert values == {"debug": 0, "info": 3, "warning": 0, "error": 1}


async def test_the_loop_turns_while_nobody_reads(pipe: Pipe) -> None:
    lines = pipe.writer()
    log = configure_log("debug", "json", frozenset(), lines)
    lines.start(lambda dropped: log.warning("log_lines_dropped", count=sum(dropped.values())))
    pipe.fill()
    log.debug("event_decided")
    await wait_until(lambda: not lines._waiting, "the thread has the line in its hand")
    loop, longest = asyncio.get_running_loop(), 0.0
    for _ in range(50):
        began = loop.time()
        for _ in range(50):
            log.debug("event_decided", text="x" * 500)
        await asyncio.sleep(0)
        longest = max(longest, loop.time() - began)
    assert longest < 0.5
    assert not lines.close(0)
    assert lines.dropped()["debug"] > 2000
    pipe.lines('{"timestamp"')
