"""The members of the service: processes that are started, ended, killed, frozen, and watched for ending themselves."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import ROOT, Service, _secrets, merged
from tests.support.waiting import wait_until

MAIN = "consumer.cli.main"


@dataclass(frozen=True, slots=True)
class Odd:
    """What one of the members has that the others have not: what is run in it, in which environment."""

    module: str
    environment: Mapping[str, str]


class Members:
    """All processes of a run. Every second one reaches Kafka through the proxies, as ``proxied`` says.

    As long as there is an ``odd``, one of those that run is it: dies it, the next that is started takes its place.
    """

    def __init__(self, document: dict[str, Any], proxied: Mapping[str, Any], folder: Path) -> None:
        self.document = document
        self.running: list[Service] = []
        self.trouble: list[str] = []
        self.odd: Odd | None = None
        self._is_odd: set[Service] = set()
        self._may_start = asyncio.Lock()
        self._told: set[str] = set()
        self._proxied = proxied
        self._folder = folder
        self._numbers = itertools.count(1)
        self._all: list[Service] = []
        self._watching: dict[Service, asyncio.Task[None]] = {}

    async def start(
        self,
        *,
        module: str = MAIN,
        proxied: bool | None = None,
        watched: bool = True,
        environment: Mapping[str, str] | None = None,
        **sections: Any,
    ) -> Service:
        """Start one; ``module`` is what is run, ``sections`` are changes of its configuration.

        One that is ``watched`` is one of the members that are kept running, and must not end by itself.
        """
        async with self._may_start:
            return await self._start(module, proxied, watched, environment, sections)

    async def _start(
        self,
        module: str,
        proxied: bool | None,
        watched: bool,
        environment: Mapping[str, str] | None,
        sections: Mapping[str, Any],
    ) -> Service:
        number = next(self._numbers)
        odd = self.odd
        is_odd = odd is not None and watched and module == MAIN and not self.odd_ones()
        if odd is not None and is_odd:
            module, environment = odd.module, odd.environment
        document = merged(self.document, **sections)
        if number % 2 == 0 if proxied is None else proxied:
            document = merged(document, kafka=self._proxied)
        text = yaml.safe_dump(document)
        path = self._folder / f"member-{number}.yaml"
        path.write_text(text)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "run", "--config", str(path)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 22,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        service = Service(process, f"member-{number}", _secrets(text))
        self._all.append(service)
        if watched:
            self.running.append(service)
            if is_odd:
                self._is_odd.add(service)
            self._watching[service] = asyncio.create_task(self._watch(service))
        return service

    def odd_ones(self) -> list[Service]:
        """Those that run and are, or were to be, the odd one."""
        return [service for service in self.running if service in self._is_odd]

    @contextlib.asynccontextmanager
    async def none_starts(self) -> AsyncIterator[None]:
        """For the length of the block none is started, and those that were have looked at the topics."""
        async with self._may_start:
            self._all = [service for service in self._all if service.process.returncode is None]

            def have_looked() -> bool:
                alive = (service for service in self._all if service.process.returncode is None)
                return all(service.lines("service_started") for service in alive)

            await wait_until(have_looked, "all members have started", timeout=90.0, poll=0.1)
            yield

    async def _watch(self, service: Service) -> None:
        code = await service.process.wait()
        self._write(service)
        if service in self.running:
            self.running.remove(service)
            self.trouble.append(f"{service.name} ended by itself with {code}\n{service.tail()}")

    async def kill(self, service: Service) -> None:
        """`kill -9`."""
        self._forget(service)
        await service.kill()
        await self._look_at(service)

    async def end(self, service: Service) -> None:
        """SIGTERM; it has to end with 0, in time."""
        self._forget(service)
        try:
            await service.end(within=60)
        except AssertionError as error:
            # Before it listens to signals, and has said anything, SIGTERM ends it as it ends any process.
            if service.process.returncode != -signal.SIGTERM or service.output:
                self.trouble.append(f"{error}\n{service.tail()}")
            with contextlib.suppress(ProcessLookupError):
                service.process.kill()
        await self._look_at(service)

    async def end_all(self) -> None:
        """SIGTERM to all at once."""
        await asyncio.gather(*(self.end(service) for service in list(self.running)))

    async def start_all(self, count: int) -> None:
        """So many of them."""
        for _ in range(count):
            await self.start()

    async def command(self, *arguments: str) -> None:
        """Run a command of the service with its present configuration; it has to end with 0."""
        code, output = await self.tried(*arguments)
        if code != 0:
            self.trouble.append(f"{' '.join(arguments)} ended with {code}: {output}")

    async def tried(self, *arguments: str) -> tuple[int | None, str]:
        """Run a command of the service with its present configuration; its exit code, and what it has said."""
        path = self._folder / "command.yaml"
        path.write_text(yaml.safe_dump(self.document))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MAIN, *arguments, "--config", str(path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    async def kill_all(self) -> None:
        """The end of a run that has failed: of those, too, that are not watched."""
        for service in self._all:
            self._forget(service)
            if service.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    service.process.kill()
                await service.ended()

    async def ready(self, timeout: float = 60.0) -> None:
        """Wait until all members are in the group and ready, each with what it was assigned restored."""

        async def are_ready() -> bool:
            healths = [await service.health() for service in self.running]
            return bool(healths) and all(status == 200 for status, _ in healths)

        await wait_until(are_ready, "all members are ready", timeout=timeout, poll=0.3)

    def _forget(self, service: Service) -> None:
        if service in self.running:
            self.running.remove(service)

    async def _look_at(self, service: Service) -> None:
        await service.ended()
        self._write(service)
        self._check(service)

    def _check(self, service: Service) -> None:
        # aiokafka says so of a connection whose start was cut off, and closes it itself.
        service.log[:] = [line for line in service.log if "Unclosed AIOKafkaConnection" not in str(line.get("event"))]
        try:
            service.check_output()
        except AssertionError as error:
            if (text := str(error)[:3000]) not in self._told:
                self.trouble.append(text)
                self._told.add(text)

    def _write(self, service: Service) -> None:
        (self._folder / f"{service.name}.log").write_text("\n".join(service.output))

    def write_logs(self) -> None:
        """What the running ones have written so far, into files, for whoever looks for a cause."""
        for service in self.running:
            self._write(service)

    async def check_running(self) -> None:
        """What is asked of every process, of those that run."""
        for service in self.running:
            self._check(service)
