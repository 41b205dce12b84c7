"""A steady load for minutes with a fault now and then: does anything grow, and does the lag go back after each?

What the members have is read from outside: memory, open files and sockets from ``/proc``, tasks of the event loop and
lag from their metrics, the size of the state from the broker. The account at the end is that of every other run.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from aiokafka.errors import KafkaError

from tests.chaos.account import Account, Reader, take_account
from tests.chaos.faults import CATALOG, Kind, Scene
from tests.chaos.members import Members
from tests.chaos.setting import Setting
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

STATE_CONFIGS = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(1 << 20),
    "min.compaction.lag.ms": "60000",  # the account reads all that has been written
}

EVERY_SECONDS = 30.0
WARM_SECONDS = 60.0
LAG_SECONDS = 0.5
"""The lag is back when it is less than what comes in so long."""
LAG_TIMEOUT_SECONDS = 60.0
READ_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Having:
    """What a process has."""

    resident_mib: float
    files: int
    sockets: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What there is at a quiet moment: of each member, and of the state topics."""

    at: float
    members: tuple[Having, ...]
    alerts: int
    state_mib: float


@dataclass
class Soak:
    """What has been seen. ``lag_back``: after which fault how many seconds until the lag was back."""

    samples: list[Sample] = field(default_factory=list)
    lag_back: list[tuple[str, float]] = field(default_factory=list)
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
        ]

    def _growth(self) -> list[str]:
        third = max(1, len(self.samples) // 3)
        early, late = self.samples[:third], self.samples[-third:]
        found = []
        for index in range(len(early[0].members)):
            for what, allowed in (("resident_mib", 8.0), ("files", 4), ("sockets", 4), ("tasks", 8)):
                before, after = (
                    median(getattr(sample.members[index], what) for sample in samples) for samples in (early, late)
                )
                if after > before * 1.05 + allowed:
                    found.append(f"member {index + 1}: {what} has grown from {before:g} to {after:g}")
        return found

    def report(self) -> str:
        """The figures, a line a sample."""
        lines = [f"{self.events:,} events in {self.seconds:.0f} s, {len(self.lag_back)} faults"]
        lines += [f"  after {name}: lag back in {seconds:.1f} s" for name, seconds in self.lag_back]
        lines.append("  at      " + "".join(f"{f'member {n + 1}: MiB, files, sockets, tasks':>40}" for n in range(2)))
        for sample in self.samples:
            members = "".join(
                f"{f'{one.resident_mib:.1f}, {one.files}, {one.sockets}, {one.tasks}':>40}" for one in sample.members
            )
            lines.append(
                f"  {sample.at:5.0f} s {members}  {sample.alerts:5} alerts  {sample.state_mib:6.1f} MiB of state"
            )
        return "\n".join(lines)


async def soak(where: Setting, folder: Path, *, seed: int, minutes: float, per_second: float) -> Soak:
    """Two members, this load for so long."""
    result, chance = Soak(), random.Random(f"{seed}/soak")
    members = Members(where.world.document, where.proxied_servers, folder)
    traffic = Traffic(where.world.bootstrap_servers, where.world.events, per_second, HABITS)
    reader = Reader(where.world, where.providers)
    scene = Scene(where, members, 2, chance)
    kinds = [CATALOG[name] for name in SURVIVED]
    try:
        for _ in range(2):
            await members.start()
        await members.ready()
        started = time.monotonic()
        async with traffic.flowing("p", f"{seed}/soak"), _reading(reader):
            await asyncio.sleep(WARM_SECONDS)
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
        await members.check_running()
        await members.end_all()
    finally:
        await members.kill_all()
    result.trouble += members.trouble
    return result


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
    over = time.monotonic()

    async def is_back() -> bool:
        lags = [await _lag(member) for member in members.running]
        return None not in lags and sum(lag for lag in lags if lag is not None) < per_second * LAG_SECONDS

    await wait_until(is_back, f"the lag is back after {kind.name}", timeout=LAG_TIMEOUT_SECONDS, poll=0.2)
    result.lag_back.append((kind.name, time.monotonic() - over))


async def _lag(member: Service) -> float | None:
    """Of all its partitions; None while one of them is not restored."""
    status, _ = await member.health()
    return await member.metric_sum("lag") if status == 200 else None


async def _sample(where: Setting, members: Members, reader: Reader, at: float) -> Sample:
    having = [await _having(member) for member in members.running]
    alerts = sum(len(reader.open_alerts(provider)) for provider in where.providers)
    return Sample(at, tuple(having), alerts, await asyncio.to_thread(_state_mib, where))


async def _having(member: Service) -> Having:
    process = Path(f"/proc/{member.process.pid}")
    files = list((process / "fd").iterdir())
    sockets = sum(os.readlink(file).startswith("socket:") for file in files if file.is_symlink())
    pages = int((process / "statm").read_text().split()[1])
    tasks = int(await member.metric("asyncio_tasks"))
    return Having(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(files), sockets, tasks)


def _state_mib(where: Setting) -> float:
    """The size of all state topics at one broker."""
    node = where.nodes[0]
    assert isinstance(node, KafkaContainer)
    return sum(node.log_bytes(where.world.state(provider)) for provider in where.providers) / 2**20
