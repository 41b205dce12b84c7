"""A steady load for minutes with a fault now and then: does anything grow, and does the lag go back after each?

Before the load and after it the members are at rest: what they have then must be the same. Memory is compared under the
load, from when each has once had the other's partitions and a backlog. The account at the end is that of every run.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from aiokafka.errors import KafkaError

from tests.chaos.account import Account, take_account
from tests.chaos.faults import CATALOG, Kind, Scene
from tests.chaos.members import Members
from tests.chaos.process_stats import ProcessStats, process_stats
from tests.chaos.reader import Reader
from tests.chaos.setting import SESSION_SECONDS, Setting
from tests.chaos.traffic import Habits, Traffic
from tests.support.broker import KafkaContainer
from tests.support.process import Service
from tests.support.waiting import wait_until

SURVIVED = (
    "SIGSTOP > session", "SIGSTOP < session", "broker restarted", "broker killed", "broker paused", "connections cut",
    "connections stalled", "coordinator cut off", "slow network", "503", "429 Retry-After", "hang",
    "drop after applying", "slow", "lands late", "key refused",
)  # fmt: skip
"""The faults that leave every member alive, so that what one has can be compared over time."""

HABITS = Habits(sessions=60, actions=(300, 1500), denied=0.02, minor=0.05, poison=0.0005)
"""Much work and few problems, as in production; some hundred alerts are open at a time."""

SEGMENT_BYTES = 1 << 20
STATE_CONFIGS = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(SEGMENT_BYTES),
    "min.compaction.lag.ms": "60000",  # the account reads all that has been written
}

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""That of the image."""

EVERY_SECONDS = 30.0
FROZEN_SECONDS = 3 * SESSION_SECONDS
"""So long each member is stopped before memory is compared: what comes in meanwhile is the largest backlog there is."""
LAG_SECONDS = 0.5
"""The lag is back when it is less than what comes in so long."""
LAG_TIMEOUT_SECONDS = 60.0
READ_SECONDS = 2.0
REST_SECONDS = 60.0
"""The longest until connections to the provider are closed that nobody uses."""
MORE_MIB, MORE_PART = 8.0, 0.05
ALERT_BYTES = 2048
"""The last record of an open alert is not larger."""
MORE = {"files": 0, "kafka": 0, "provider": 0, "tasks": 4}
"""So much more may there be after the load than before: some tasks live for a moment only."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What there is at a quiet moment: of each member, and of the state topics."""

    at: float
    members: tuple[ProcessStats, ...]
    alerts: int
    state_mib: float


@dataclass
class Soak:
    """What has been seen. ``lag_back``: after which fault how many seconds until the lag was back; ``rest``: what the
    members had before the load and after it; ``segments``: one is written for each state partition."""

    samples: list[Sample] = field(default_factory=list)
    rest: tuple[tuple[ProcessStats, ...], tuple[ProcessStats, ...]] = ((), ())
    lag_back: list[tuple[str, float]] = field(default_factory=list)
    segments: int = 0
    events: int = 0
    seconds: float = 0.0
    account: Account = field(default_factory=Account)
    trouble: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What must not be: growth, anything lost, doubled, wrongly resolved."""
        return [
            *(str(one) for one in self.account.findings if one.cause is None),
            *self.trouble,
            *self._growth(),
            *self._state(),
        ]

    def _state(self) -> list[str]:
        """Beside what is open each partition has the segment that is written, and one that is not compacted yet."""
        return [
            f"{sample.state_mib:.1f} MiB of state for {sample.alerts} alerts after {sample.at:.0f} s"
            for sample in self.samples
            if sample.state_mib * 2**20 > 2 * self.segments * SEGMENT_BYTES + sample.alerts * ALERT_BYTES
        ]

    def _growth(self) -> list[str]:
        found = [
            f"member {number} at rest: {what} has grown from {getattr(before, what)} to {getattr(after, what)}"
            for number, (before, after) in enumerate(zip(*self.rest, strict=True), 1)
            for what, more in MORE.items()
            if getattr(after, what) > getattr(before, what) + more
        ]
        third = max(1, len(self.samples) // 3)
        parts = self.samples[:third], self.samples[-third:]
        for index in range(len(self.samples[0].members)):
            before, after = (median(sample.members[index].resident_mib for sample in part) for part in parts)
            if after > before * (1 + MORE_PART) + MORE_MIB:
                found.append(f"member {index + 1}: memory has grown from {before:.1f} to {after:.1f} MiB")
        return found

    def report(self) -> str:
        """The figures, a line a sample."""
        account = self.account
        lines = [
            f"{self.events:,} events in {self.seconds:.0f} s, {len(self.lag_back)} faults, {account.alertable:,} times "
            f"alertable at a provider, {account.incidents:,} incidents, {account.count('lost')} lost, "
            f"{account.count('extra')} extra, {account.count('wrong_resolve')} wrong resolves"
        ]
        lines += [f"  after {name}: lag back in {seconds:.1f} s" for name, seconds in self.lag_back]
        lines.append("each member: memory, files, connections to Kafka and to the provider, tasks")
        before, after = (_columns(members) for members in self.rest)
        lines.append(f"  before  {before}")
        for sample in self.samples:
            state = f"{sample.alerts:5} alerts  {sample.state_mib:6.1f} MiB of state"
            lines.append(f"  {sample.at:5.0f} s {_columns(sample.members)}  {state}")
        lines.append(f"  after   {after}")
        return "\n".join(lines)


def _columns(members: tuple[ProcessStats, ...]) -> str:
    return "".join(f"{one!s:>32}" for one in members)


async def soak(where: Setting, folder: Path, *, seed: int, minutes: float, per_second: float) -> Soak:
    """Two members, this load for so long."""
    result, chance = Soak(segments=len(where.providers) * where.world.partitions), random.Random(f"{seed}/soak")
    members = Members(where.world.document, where.proxied, folder)
    traffic = Traffic(where.world.bootstrap_servers, where.world.events, per_second, HABITS)
    reader = Reader(where.world, where.providers)
    scene = Scene(where, members, 2, chance, traffic, reader, "p-")
    kinds: list[Kind] = []
    try:
        for _ in range(2):
            await members.start(environment=ENVIRONMENT)
        await members.ready()
        before = await _stats(where, members)
        async with traffic.flowing("p", f"{seed}/soak"), _reading(reader):
            for member in list(members.running):
                await member.freeze_for(FROZEN_SECONDS)
                await _lag_back(members, per_second, "each was stopped")
            started = time.monotonic()
            while time.monotonic() < started + minutes * 60:
                turn = time.monotonic()
                if not kinds:
                    kinds = [CATALOG[name] for name in SURVIVED]
                await _strike(kinds.pop(chance.randrange(len(kinds))), scene, members, per_second, result)
                await asyncio.sleep(max(0.0, turn + EVERY_SECONDS - time.monotonic()))
                result.samples.append(await _sample(where, members, reader, time.monotonic() - started))
            result.seconds = time.monotonic() - started
        result.events = len(traffic.acked)

        async def is_quiet() -> bool:
            return await reader.is_quiet() is None

        await wait_until(is_quiet, "everything is quiet", timeout=120, poll=1.0)
        result.account = take_account(reader, where.sandbox, traffic.acked, "p-")
        result.rest = (before, await _at_rest(where, members))
        await members.check_running()
        await members.end_all()
    finally:
        await members.kill_all()
    result.trouble += members.trouble
    return result


async def _at_rest(where: Setting, members: Members) -> tuple[ProcessStats, ...]:
    """What the members have when nothing is sent any more."""

    async def is_idle() -> bool:
        return not any(one.provider for one in await _stats(where, members))

    await wait_until(is_idle, "connections to the provider are closed", timeout=REST_SECONDS, poll=1.0)
    return await _stats(where, members)


@contextlib.asynccontextmanager
async def _reading(reader: Reader) -> AsyncIterator[None]:
    """Read on all the time, so that it is never much, and before it is compacted."""

    async def read() -> None:
        while True:
            with contextlib.suppress(KafkaError):  # a broker is away
                await reader.read_on()
            await asyncio.sleep(READ_SECONDS)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _strike(kind: Kind, scene: Scene, members: Members, per_second: float, result: Soak) -> None:
    await kind.strike(scene)
    result.lag_back.append((kind.name, await _lag_back(members, per_second, kind.name)))


async def _lag_back(members: Members, per_second: float, after: str) -> float:
    """Wait until the lag is back; returns how many seconds it took."""
    over = time.monotonic()

    async def is_back() -> bool:
        lags = [await _lag(member) for member in members.running]
        return None not in lags and sum(lag for lag in lags if lag is not None) < per_second * LAG_SECONDS

    await wait_until(is_back, f"the lag is back after {after}", timeout=LAG_TIMEOUT_SECONDS, poll=0.2)
    return time.monotonic() - over


async def _lag(member: Service) -> float | None:
    """Of all its partitions; None while one of them is not restored."""
    status, _ = await member.health()
    return await member.metric_sum("lag") if status == 200 else None


async def _sample(where: Setting, members: Members, reader: Reader, at: float) -> Sample:
    alerts = sum(len(reader.open_alerts(provider)) for provider in where.providers)
    return Sample(at, await _stats(where, members), alerts, await asyncio.to_thread(_state_mib, where))


async def _stats(where: Setting, members: Members) -> tuple[ProcessStats, ...]:
    kafka_ports = {port for node in where.nodes for port in (node.port, node.proxy_port)}
    provider_port = urlsplit(where.sandbox.url).port
    assert provider_port is not None
    return tuple([await process_stats(member, kafka_ports, provider_port) for member in members.running])


def _state_mib(where: Setting) -> float:
    """The size of all state topics at one broker."""
    node = where.nodes[0]
    assert isinstance(node, KafkaContainer)
    return sum(node.log_bytes(where.world.state(provider)) for provider in where.providers) / 2**20
