"""The demo as a user starts it: it passes, it can be stopped at any time, it leaves nothing behind, and it can fail."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from consumer.demo.demo import Options, run_demo
from providers.sandbox import Fault, FaultyAnswer
from tests.support.broker import Broker
from tests.support.kafka import groups
from tests.support.waiting import wait_until

pytest.importorskip("clawdstrike")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

SECONDS = 90.0
"""A demo that takes longer than this is stuck."""

PAGES_SEEN = r"→ [1-9]\d* pages?,"


class Demo:
    """A demo in a process of its own. All its processes have the same mark in their environment."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str, temporary: Path) -> None:
        self.process = process
        self.temporary = temporary
        self.output = ""
        self._mark = mark.encode()

    async def until(self, pattern: str) -> re.Match[str]:
        """Read what it prints until that is there."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while (match := re.search(pattern, self.output)) is None:
                line = await self.process.stdout.readline()
                assert line, f"it ended without {pattern!r}:\n{self.output}"
                self.output += line.decode()
        return match

    async def end(self) -> int:
        """Wait until it ends; its exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def processes(self, containing: bytes = b"") -> list[int]:
        """The ids of its processes that live, of those whose command line contains this."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and self._mark in (entry / "environ").read_bytes()
                    and containing in (entry / "cmdline").read_bytes()
                ):
                    found.append(int(entry.name))
        return found

    def left(self) -> list[str]:
        """What is in its folder for temporary files."""
        return sorted(entry.name for entry in self.temporary.iterdir())


@contextlib.asynccontextmanager
async def started(tmp_path: Path, *arguments: str) -> AsyncIterator[Demo]:
    mark = f"DEMO_OF_TEST={uuid.uuid4()}"
    name, _, value = mark.partition("=")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "consumer.cli.main", "demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, name: value, "TMPDIR": str(tmp_path), "COLUMNS": "200"},
    )
    demo = Demo(process, mark, tmp_path)
    try:
        yield demo
    finally:
        for left in demo.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        await process.wait()


async def test_it_passes_and_leaves_nothing(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "8") as demo:
        assert await demo.end() == 0, demo.output
        assert "PASSED" in demo.output
        assert re.search(PAGES_SEEN, demo.output)
        assert " resolved" in demo.output
        assert demo.processes() == []
        assert demo.left() == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_in_the_middle_it_checks_what_has_run(tmp_path: Path, how: signal.Signals) -> None:
    async with started(tmp_path, "--seconds", "600") as demo:
        await demo.until(PAGES_SEEN)
        demo.process.send_signal(how)
        assert await demo.end() == 0, demo.output
        assert "PASSED" in demo.output
        assert demo.processes() == []
        assert demo.left() == []


async def test_stopped_twice_it_leaves_at_once(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "600") as demo:
        await demo.until(PAGES_SEEN)
        demo.process.send_signal(signal.SIGINT)
        await demo.until("the agents have stopped")
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == 1
        assert "stopped: nothing was checked" in demo.output
        assert "Traceback" not in demo.output
        assert demo.processes() == []
        assert demo.left() == []


async def test_stopped_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    async with started(tmp_path) as demo:
        await demo.until("embedded broker")
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == 1
        assert "stopped before any traffic" in demo.output
        assert "Traceback" not in demo.output
        assert demo.processes() == []
        assert demo.left() == []


async def test_killed_it_leaves_no_process(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "600") as demo:
        await demo.until(PAGES_SEEN)
        assert len(demo.processes()) >= 5  # itself, the broker and the service, each of these with its guard
        demo.process.kill()
        await demo.process.wait()
        await wait_until(lambda: not demo.processes(), "no process is left", timeout=20)


async def test_it_says_how_the_service_died(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "600") as demo:
        await demo.until(PAGES_SEEN)
        for service in demo.processes(containing=b"consumer.cli.main\0run\0"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(service, signal.SIGKILL)
        assert await demo.end() == 1
        assert "the service ended with" in demo.output
        assert "alert_triggered" in demo.output  # the end of its log
        assert "Traceback" not in demo.output
        assert demo.processes() == []
        assert demo.left() == []


async def test_kept_it_says_where_everything_is_and_runs_until_it_is_stopped(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "2", "--keep") as demo:
        url = (await demo.until(r"curl (http://\S+/metrics)"))[1]
        assert "PASSED" in demo.output
        assert demo.process.returncode is None
        host, _, port = url.removeprefix("http://").removesuffix("/metrics").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == 0
        assert demo.processes() == []
        assert demo.left() == []


async def test_stopped_again_and_again_behind_the_check_its_outcome_stands(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "2", "--keep") as demo:
        await demo.until("what people would see")
        assert "PASSED" in demo.output
        for _ in range(4):
            demo.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.05)  # signals of one kind that wait are one
        assert await demo.end() == 0, demo.output
        assert "Traceback" not in demo.output
        assert demo.processes() == []
        assert demo.left() == []


async def test_its_page_is_told_first_and_last(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "2") as demo:
        assert await demo.end() == 0, demo.output
        lines = demo.output.splitlines()
        address = re.search(r"http://127\.0\.0\.1:\d+/", lines[0])
        assert address is not None
        assert address[0] in lines[-1]


async def test_what_a_kept_demo_tells_to_try_works(tmp_path: Path) -> None:
    async with started(tmp_path, "--seconds", "2", "--keep") as demo:
        await demo.until("what people would see")
        for pattern, said in (
            (r"^  (\S+ .* alerts list .*)$", "forbidden_path"),
            (r"^  (\S+ \S+produce\.py)$", "sent to"),
        ):
            command = re.search(pattern, demo.output, re.MULTILINE)
            assert command is not None
            tried = await asyncio.create_subprocess_shell(
                command[1], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await tried.communicate()
            assert (tried.returncode, said in output.decode()) == (0, True), output


async def test_on_a_broker_of_others_it_leaves_nothing(tmp_path: Path, broker: Broker) -> None:
    async with started(tmp_path, "--seconds", "4", "--bootstrap-servers", broker.bootstrap_servers) as demo:
        name = (await demo.until(r"topics: (clawdstrike-demo-\w+)\.events"))[1]
        assert await demo.end() == 0, demo.output

    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)

    async def is_gone() -> bool:
        return not any(topic.startswith(name) for topic in await admin.list_topics())

    await admin.start()
    try:
        await wait_until(is_gone, "the topics are deleted")
        assert "could not be deleted" not in demo.output
        if broker.kind == "docker":
            assert await groups(broker.bootstrap_servers, name) == []
    finally:
        await admin.close()


LOST = "forbidden_path:acme-corp-coder-001"
"""What the first agent does first, in every run."""


async def test_an_incident_that_the_provider_loses_fails_the_check() -> None:
    lost = Fault(FaultyAnswer(status=202, body='{"status": "success"}'), provider="pagerduty", dedup_key=LOST)
    console = Console(file=StringIO(), width=200)
    async with asyncio.timeout(SECONDS):
        passed = await run_demo(Options(seconds=4, faults=[lost]), console, asyncio.Event())
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert not passed
    assert f"pagerduty: missing: {LOST}" in told
    assert "FAILED" in told
    assert "opsgenie: missing" not in told
