"""The service in a process of its own: `clawdstrike-alerting run`, to be watched, frozen, killed and ended.

What every such process is asked for, whatever the test is about: it ends as it should, its log has no traceback and
none of its secrets.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml
from prometheus_client.parser import text_string_to_metric_families

from consumer.config import ConfigError, parse_config, secrets_of
from tests.support.waiting import wait_until

MODULE = "consumer.cli.main"
ROOT = Path(__file__).parents[2]

START_SECONDS = 40.0
"""Until all partitions are restored, on a busy machine and behind a member that has not been missed yet."""

END_SECONDS = 45.0
"""The longest that a process may take to end after SIGTERM, if the test does not say."""

Line = Mapping[str, Any]

_LINE_BYTES = 1 << 22


def merged(document: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The document with these changes, as in `merged(world.document, kafka={"session_timeout": "3s"})`."""
    found = dict(document)
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(found.get(name), Mapping):
            found[name] = merged(found[name], **change)
        else:
            found[name] = change
    return found


def towards(document: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The document of a member that sends to another sandbox than the other members do."""
    providers = document["exporters"]["alerting"]
    endpoints = {name: {"api_endpoint": url} for name in ("pagerduty", "opsgenie") if name in providers}
    return merged(document, exporters={"alerting": endpoints})


async def series(port: int, name: str, labels: Mapping[str, str]) -> list[float]:
    """The values of all series of the metrics at a port that have this name and these labels."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    wanted = f"clawdstrike_alerting_{name}"
    return [one.value for one in samples if one.name == wanted and labels.items() <= one.labels.items()]


class Service:
    """A process that runs the service. `output` is what it has written to stderr, `log` the same as JSON.

    With ``unread``, the end of a pipe that is its stderr, nobody reads that before `listen`.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, name: str, secrets: frozenset[str], unread: int | None = None
    ) -> None:
        self.process = process
        self.name = name
        self.output: list[str] = []
        self.log: list[Line] = []
        self._secrets = secrets
        self._unread = unread
        self._reading = asyncio.create_task(self._read(process.stderr))

    async def listen(self) -> None:
        """Begin to read what nobody has read."""
        assert self._unread is not None
        reader = asyncio.StreamReader(limit=_LINE_BYTES)
        pipe, self._unread = os.fdopen(self._unread, "rb", buffering=0), None
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._reading = asyncio.create_task(self._read(reader))

    def close(self) -> None:
        """Close the pipe that nobody has read."""
        if self._unread is not None:
            os.close(self._unread)
            self._unread = None

    async def _read(self, stderr: asyncio.StreamReader | None) -> None:
        while stderr is not None and (line := (await stderr.readline()).decode()):
            self.output.append(line.rstrip("\n"))
            with contextlib.suppress(orjson.JSONDecodeError):
                self.log.append(orjson.loads(line))

    # what it says

    def lines(self, event: str, *, after: int = 0, **fields: Any) -> list[Line]:
        """The lines of its log with this event and these fields; ``after`` leaves out so many lines before."""
        wanted = {"event": event, **fields}
        return [line for line in self.log[after:] if all(line.get(name) == value for name, value in wanted.items())]

    async def said(
        self, event: str, count: int = 1, *, after: int = 0, timeout: float = START_SECONDS, **fields: Any
    ) -> Line:
        """Wait for a line of its log, the ``count``-th of its kind."""
        what = f"{self.name} logs {event} {fields or ''} ({count})"

        def found() -> list[Line]:
            self._alive()
            return self.lines(event, after=after, **fields)[count - 1 :]

        return (await wait_until(found, what, timeout=timeout))[0]

    def _alive(self) -> None:
        if self.process.returncode is not None and self._reading.done():
            raise AssertionError(f"{self.name} has ended with {self.process.returncode}")

    async def restored(self, partitions: int = 1, *, timeout: float = START_SECONDS) -> None:
        """Wait until it has so many partitions, all of them restored, and is ready."""

        async def is_ready() -> bool:
            self._alive()
            status, health = await self.health()
            pipelines = health["pipelines"].values() if health else ()
            return status == 200 and all(one["restored"] == one["partitions"] == partitions for one in pipelines)

        await wait_until(is_ready, f"{self.name} is ready with {partitions} partitions", timeout=timeout, poll=0.1)

    async def health(self) -> tuple[int, Mapping[str, Any]]:
        """Its readiness: the status, and what it says; 0 while nobody answers."""
        if not (started := self.lines("service_started")):
            return 0, {}
        try:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{started[0]['port']}/readyz"
                async with session.get(url, timeout=aiohttp.ClientTimeout(3)) as response:
                    return response.status, await response.json()
        except (OSError, TimeoutError, aiohttp.ClientError):
            return 0, {}

    async def status(self, path: str) -> int:
        """The status of one of its pages, such as ``/healthz``."""
        url = f"http://127.0.0.1:{self.lines('service_started')[0]['port']}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series of its metrics; 0 if it is not there."""
        return next(iter(await self._series(name, labels)), 0.0)

    async def metric_sum(self, name: str, **labels: str) -> float:
        """The sum of all series of its metrics with these labels."""
        return sum(await self._series(name, labels))

    async def _series(self, name: str, labels: Mapping[str, str]) -> list[float]:
        return await series(self.lines("service_started")[0]["port"], name, labels)

    # what is done to it

    def freeze(self) -> None:
        """Stop it as a debugger, a hypervisor or a host without memory does."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    async def freeze_for(self, seconds: float) -> None:
        """Stop it for so long. One that has ended meanwhile is not woken."""
        try:
            self.freeze()
            await asyncio.sleep(seconds)
        finally:
            if self.process.returncode is None:
                self.wake()

    async def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        await self.ended()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def end(self, *, within: float = END_SECONDS) -> float:
        """SIGTERM, which ends it with exit code 0; returns how many seconds it took."""
        started = asyncio.get_running_loop().time()
        self.ask_to_end()
        code = await self.ended(within=within)
        assert code == 0, f"{self.name} ended with {code} after SIGTERM"
        return asyncio.get_running_loop().time() - started

    async def ended(self, *, within: float = END_SECONDS) -> int:
        """Wait for its end; returns the exit code."""
        try:
            async with asyncio.timeout(within):
                code = await self.process.wait()
                await self._reading
        except TimeoutError:
            raise AssertionError(f"{self.name} has not ended within {within:g} s") from None
        return code

    # what is asked of every process

    def check_output(self) -> None:
        """Its output has no secret, no traceback, and nothing that was left lying about."""
        text = "\n".join(self.output)
        assert not [secret for secret in self._secrets if secret in text], f"{self.name} has told a secret"
        assert "Traceback" not in text, f"{self.name} has written a traceback: {text[text.index('Traceback') :][:3000]}"
        left = [line for line in self.log if "exception" in line or line.get("logger") in ("asyncio", "py.warnings")]
        assert not left, f"{self.name} has left errors lying about: {left[:3]}"

    def tail(self, lines: int = 40) -> str:
        """The end of its output, without what is said most often, for the report of a test that failed."""
        often = ('"provider_unavailable"', '"alert_triggered"', '"checkpoint"')
        told = [line[:1000] for line in self.output if not any(event in line for event in often)]
        return f"--- the end of what {self.name} has written:\n" + "\n".join(told[-lines:])


@contextlib.asynccontextmanager
async def service_process(
    document: Mapping[str, Any],
    folder: Path,
    name: str = "service",
    *,
    command: str = "run",
    unread: bool = False,
    module: str = MODULE,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Service]:
    """The service with this configuration; at the end of the block it is ended, unless the test has done so.

    ``module`` is what is run as the service, by this ``command``, with ``environment`` added to ours. If ``unread``,
    nobody reads what it writes until the test calls `Service.listen`.
    """
    service = await _start(
        document, folder, name, command=command, unread=unread, module=module, environment=environment
    )
    try:
        yield service
        if service.process.returncode is None:
            await service.end()
        service.check_output()
    except BaseException as error:
        error.add_note(service.tail())
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            service.process.kill()
        await service.ended()
        service.close()


async def run_to_end(
    document: Mapping[str, Any] | str, folder: Path, *, command: str = "run", within: float = 30.0
) -> tuple[int, list[str]]:
    """Run the service with a configuration with which it cannot start.

    Returns its exit code and the lines of its stderr that are meant for people: those that are not lines of its log.
    """
    service = await _start(document, folder, "service", command=command)
    try:
        code = await service.ended(within=within)
        service.check_output()
    except BaseException as error:
        error.add_note(service.tail())
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            service.process.kill()
        await service.ended()
    return code, [line for line in service.output if not line.startswith("{")]


async def _start(
    document: Mapping[str, Any] | str,
    folder: Path,
    name: str,
    *,
    command: str = "run",
    unread: bool = False,
    module: str = MODULE,
    environment: Mapping[str, str] | None = None,
) -> Service:
    text = document if isinstance(document, str) else yaml.safe_dump(dict(document))
    path = folder / f"{name}.yaml"
    path.write_text(text)
    pipe = os.pipe() if unread else None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, command, "--config", str(path)),
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=pipe[1] if pipe else asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        cwd=ROOT,
    )
    if pipe:
        os.close(pipe[1])
    return Service(process, name, _secrets(text), pipe[0] if pipe else None)


def _secrets(text: str) -> frozenset[str]:
    try:
        return secrets_of(parse_config(text, os.environ, lambda path: ""))
    except ConfigError:
        return frozenset()
