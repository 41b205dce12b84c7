"""A crash at every step of a task, one after the other: none is sampled, none is left out.

For each step a member is started that ends there as by `kill -9` (`tests.chaos.crashing`), then a clean one that has to
finish what it left; then the account is taken. What steps there are is seen by members that play the scenario to its
end. Every scenario has a new alert (a), one that is raised (b), and one whose session ends (c).
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from providers.sandbox import ArmedFault, Delay, Fault
from tests.chaos.account import Account, take_account
from tests.chaos.crashing import CODE
from tests.chaos.finding import Finding
from tests.chaos.members import Members
from tests.chaos.reader import Reader
from tests.chaos.setting import Setting, make_world
from tests.chaos.table import Row
from tests.support.events import encode, event, session_end
from tests.support.kafka import running
from tests.support.process import Service
from tests.support.service import World
from tests.support.waiting import wait_until

CRASHING = "tests.chaos.crashing"
GUARD = "forbidden_path"
SESSION_SECONDS, TIMEOUT_SECONDS = 2.0, 0.5
STEP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash: at which step, what was found afterwards, how long the successor took.

    ``steps`` are all that the member passed. ``was_reached``: in this run the step came (if not, the member had done
    everything before, and was killed then).
    """

    scenario: str
    step: str
    steps: tuple[str, ...]
    was_reached: bool
    account: Account
    trouble: tuple[str, ...]
    recovery: float


@dataclass
class Bench:
    """One group with one partition, in which one crash after the other is made."""

    setting: Setting
    world: World
    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.members = Members(self.world.document, self.setting.proxied, self.folder)
        self.reader = Reader(self.world, ["pagerduty"])
        self._played = 0

    async def crash(self, scenario: "Scenario", step: str) -> Crash:
        """Crash at this step of the scenario; without one, play it to its end."""
        self._played += 1
        prefix = f"{self.name}{self._played}"
        trace, died = self.folder / f"{prefix}.trace", time.time()
        findings: list[Finding] = []
        try:
            old = await self.members.start(proxied=False)
            await old.restored(1)
            for member in ("b", "c"):
                before = event(session=f"{prefix}-{member}", guard=GUARD, severity="high")
                await self.send((f"{prefix}-{member}", before))
            await self._quiet()
            await self.members.end(old)
            await scenario.play(self, prefix, step, trace)
            died = time.time()
            clean = await self.members.start(proxied=False)
            await clean.restored(1)
            await self._quiet()
        except (AssertionError, TimeoutError) as error:
            findings.append(Finding("stuck", "pagerduty", prefix, str(error)))
        recovery = time.time() - died
        account = take_account(self.reader, self.setting.sandbox, {}, f"{prefix}-")
        account.findings += [*findings, *self._expected(prefix)]
        await self.members.end_all()
        await self.members.kill_all()
        trouble, self.members.trouble = tuple(self.members.trouble), []
        steps = tuple(trace.read_text().splitlines()) if trace.exists() else ()
        return Crash(scenario.name, step or "the end", steps, step in steps, account, trouble, recovery)

    def _expected(self, prefix: str) -> Iterable[Finding]:
        """One incident for each of the three; that of c has ended, the others have not."""
        for member, is_open in (("a", True), ("b", True), ("c", False)):
            key = f"{GUARD}:{prefix}-{member}"
            found = [incident.open for incident in self.setting.sandbox.incidents(dedup_key=key)]
            if found != [is_open]:
                yield Finding(
                    "extra" if len(found) > 1 else "lost", "pagerduty", key, f"open: {found}, not [{is_open}]"
                )

    async def start(self, step: str, trace: Path, *, arm: str) -> Service:
        """Start the member that is to crash."""
        environment = {"CHAOS_CRASH_AT": step, "CHAOS_ARM": arm, "CHAOS_TRACE": str(trace)}
        return await self.members.start(module=CRASHING, proxied=False, watched=False, environment=environment)

    async def backlog(self, prefix: str) -> None:
        """The events of the scenario."""
        a, b, c = (f"{prefix}-{member}" for member in ("a", "b", "c"))
        await self.send(
            (a, event(session=a, guard=GUARD, severity="high")),
            (b, event(session=b, guard=GUARD, severity="critical")),
            (c, session_end(c)),
        )

    async def send(self, *events: tuple[str, dict[str, Any]]) -> None:
        """Produce these events, each with the session as its key."""
        async with running(AIOKafkaProducer(bootstrap_servers=self.world.bootstrap_servers, acks="all")) as producer:
            for session, fields in events:
                await producer.send_and_wait(self.world.events, encode(fields), key=session.encode())

    async def crashed_or_quiet(self, service: Service) -> None:
        """Wait until the member has crashed, or has done everything."""

        async def is_over() -> bool:
            return service.process.returncode is not None or await self.reader.is_quiet() is None

        await wait_until(is_over, "the member crashes or is done", timeout=STEP_SECONDS, poll=0.1)
        if service.process.returncode is None:
            await self.members.kill(service)
        else:
            await self.check_code(service)

    async def check_code(self, service: Service) -> None:
        """It ended at its step, or (asked to) in good order."""
        code = await service.ended()
        if code not in (CODE, 0):
            self.members.trouble.append(f"the member that was to crash ended with {code}\n{service.tail()}")

    async def _quiet(self) -> None:
        last: str | None = ""

        async def is_quiet() -> bool:
            nonlocal last
            last = await self.reader.is_quiet()
            return last is None

        try:
            await wait_until(is_quiet, "quiet", timeout=STEP_SECONDS, poll=0.15)
        except AssertionError:
            raise AssertionError(f"not quiet within {STEP_SECONDS:g} s: {last}") from None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the member does that is to crash: `play` returns when it has ended."""

    name: str
    play: Callable[[Bench, str, str, Path], Awaitable[None]]


async def _taking_over(bench: Bench, prefix: str, step: str, trace: Path) -> None:
    """It starts with a backlog: own, prove, restore, then what is to be told."""
    await bench.backlog(prefix)
    await bench.crashed_or_quiet(await bench.start(step, trace, arm="start"))


async def _running(bench: Bench, prefix: str, step: str, trace: Path) -> None:
    """It runs when the events come."""
    service = await bench.start(step, trace, arm="signal")
    await service.restored(1)
    await asyncio.sleep(TIMEOUT_SECONDS + 0.2)  # no request of an earlier owner may still land
    service.process.send_signal(signal.SIGUSR1)
    await bench.backlog(prefix)
    await bench.crashed_or_quiet(service)


async def _leaving(bench: Bench, prefix: str, step: str, trace: Path) -> None:
    """It is asked to end while requests are on the wire."""
    service = await bench.start(step, trace, arm="signal")
    await service.restored(1)
    slow: ArmedFault = bench.setting.sandbox.faults.add(
        Fault(Delay(TIMEOUT_SECONDS * 0.6), dedup_key=f"{GUARD}:{prefix}-a")
    )
    await bench.backlog(prefix)
    key = f"{GUARD}:{prefix}-a"
    await bench.setting.sandbox.wait_for(lambda: bool(bench.setting.sandbox.requests(dedup_key=key)))
    service.process.send_signal(signal.SIGUSR1)
    service.ask_to_end()
    await bench.check_code(service)
    slow.remove()


SCENARIOS = (Scenario("taking over", _taking_over), Scenario("running", _running), Scenario("leaving", _leaving))


async def enumerate_crashes(
    where: Setting,
    folder: Path,
    *,
    workers: int = 3,
    steps: Mapping[str, Sequence[str]] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Crash]:
    """Crash at every step of every scenario, or at these ``steps`` of these; some benches share the work."""
    crashes: list[Crash] = []

    async def crash(bench: Bench, scenario: Scenario, step: str) -> Crash:
        done = await bench.crash(scenario, step)
        crashes.append(done)
        tell(f"  {scenario.name}: {done.step}{'' if done.was_reached or not step else ' (not reached)'}")
        for failure in (*done.account.findings, *done.trouble):
            tell(f"    FAILED {failure}")
        return done

    async def work(bench: Bench, scenario: Scenario, todo: list[str]) -> None:
        while todo:
            step = todo.pop(0)
            if not (await crash(bench, scenario, step)).was_reached:
                await crash(bench, scenario, step)  # how work is folded into checkpoints differs from run to run

    for scenario in SCENARIOS if steps is None else [one for one in SCENARIOS if one.name in steps]:
        benches = [await _bench(where, folder, f"{scenario.name[0]}{index}x") for index in range(workers)]
        try:
            if steps is None:
                whole = await asyncio.gather(*(crash(bench, scenario, "") for bench in benches))
                todo = list(dict.fromkeys(step for one in whole for step in one.steps))
            else:
                todo = list(steps[scenario.name])
            await asyncio.gather(*(work(bench, scenario, todo) for bench in benches))
        finally:
            for bench in benches:
                await bench.members.kill_all()
    return crashes


async def _bench(where: Setting, folder: Path, name: str) -> Bench:
    servers = where.world.bootstrap_servers
    replication = min(len(where.nodes), 3)
    world = await make_world(servers, where.sandbox.url, ["pagerduty"], 1, replication)
    world.document["kafka"]["session_timeout"] = f"{SESSION_SECONDS}s"
    world.document["delivery"]["timeout_seconds"] = TIMEOUT_SECONDS
    inside = folder / name
    with contextlib.suppress(FileExistsError):
        inside.mkdir(parents=True)
    return Bench(where, world, inside, name)


def rows_of(crashes: Sequence[Crash]) -> list[Row]:
    """A line of the table for each scenario; its times are the crashes, without the runs that came to an end."""
    rows = []
    for scenario in dict.fromkeys(crash.scenario for crash in crashes):
        mine = [crash for crash in crashes if crash.scenario == scenario]
        total = Account(
            sum(crash.account.alertable for crash in mine),
            sum(crash.account.incidents for crash in mine),
            findings=[finding for crash in mine for finding in crash.account.findings],
        )
        trouble = [f"{crash.step}: {text}" for crash in mine for text in crash.trouble]
        times = sum(crash.was_reached for crash in mine)
        rows.append(Row(f"crash: {scenario}", times, total, max(crash.recovery for crash in mine), trouble=trouble))
    return rows
