"""A run: phases of traffic and faults, each of which ends in a quiet moment and an account."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.account import Account, Finding, Reader, recovery_seconds, take_account, trace, waits
from tests.chaos.faults import CATALOG, TWINS, Kind, Scene
from tests.chaos.members import Members
from tests.chaos.setting import Setting
from tests.chaos.traffic import Traffic
from tests.support.waiting import wait_until

WARM_SECONDS, TAIL_SECONDS = 2.0, 1.0
QUIET_TIMEOUT_SECONDS = 120.0


@dataclass
class Row:
    """One line of the table. ``recovery``: after the end of a fault, of what was late because of it; ``longest``: how
    long the first event of a problem has waited, faults included."""

    name: str
    times: int
    account: Account
    recovery: float
    longest: float = 0.0
    trouble: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Everything that must not be."""
        return [*(str(one) for one in self.account.findings if one.cause is None), *self.trouble]


class Run:
    """Members against a setting, and what is known about them."""

    def __init__(self, setting: Setting, folder: Path, *, seed: int, members: int, per_second: float) -> None:
        self.setting = setting
        self.seed = seed
        self.size = members
        self.members = Members(setting.world.document, setting.proxied_servers, folder)
        self.traffic = Traffic(setting.world.bootstrap_servers, setting.world.events, per_second)
        self.reader = Reader(setting.world, setting.providers)
        self.rows: list[Row] = []
        self._phases = 0
        self._folder = folder

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """The members run for the length of the block; at its end they leave, each with 0."""
        try:
            for _ in range(self.size):
                await self.members.start()
            await self.members.ready()
            yield
            await self.members.check_running()
            await self.members.end_all()
            if self.members.trouble:
                self.rows.append(Row("the end", 1, Account(), 0.0, trouble=list(self.members.trouble)))
        finally:
            await self.members.kill_all()

    async def alone(self, kind: Kind, times: int = 2) -> Row:
        """One kind of fault, so many times, with pauses of random length."""
        scene = self._scene(kind.name)

        async def strikes(struck: "_Struck") -> None:
            for _ in range(times):
                await struck.by(kind, scene)
                await asyncio.sleep(scene.chance.uniform(0.5, 4))

        return await self._phase(kind.name, strikes)

    async def together(self, seconds: float, kinds: Sequence[Kind] | None = None) -> Row:
        """All lanes at once, each with one random fault after the other, for so long."""
        name = f"together {self._phases + 1}"
        kinds = list(CATALOG.values()) if kinds is None else list(kinds)
        until = asyncio.get_running_loop().time() + seconds

        async def lane(lane: str, struck: "_Struck") -> None:
            scene = self._scene(f"{name}/{lane}")
            mine = [kind for kind in kinds if kind.lane == lane]
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(scene.chance.uniform(0.2, 3))
                await struck.by(scene.chance.choice(mine), scene)

        async def strikes(struck: "_Struck") -> None:
            async with asyncio.TaskGroup() as group:
                for one in {kind.lane for kind in kinds}:
                    group.create_task(lane(one, struck))

        return await self._phase(name, strikes)

    def _scene(self, what: str) -> Scene:
        return Scene(self.setting, self.members, self.size, random.Random(f"{self.seed}/{what}"))

    async def _phase(self, name: str, strikes) -> Row:  # type: ignore[no-untyped-def]
        self._phases += 1
        prefix, struck = f"p{self._phases}", _Struck()
        async with self.traffic.flowing(prefix, f"{self.seed}/{name}"):
            await asyncio.sleep(WARM_SECONDS)
            await strikes(struck)
            while len(self.members.running) < self.size:
                await self.members.start()
            while len(self.members.running) > self.size:
                await self.members.end(self.members.running[0])
            await asyncio.sleep(TAIL_SECONDS)
        self.setting.sandbox.faults.clear()
        row = await self._account(name, f"{prefix}-", struck)
        self.rows.append(row)
        return row

    async def _account(self, name: str, prefix: str, struck: "_Struck") -> Row:
        started = time.time()
        stuck: list[Finding] = []
        answer: str | None = "nothing was looked at"

        async def is_quiet() -> bool:
            nonlocal answer
            answer = await self.reader.is_quiet()
            return answer is None

        try:
            await wait_until(is_quiet, "everything is quiet", timeout=QUIET_TIMEOUT_SECONDS, poll=0.5)
            await self.members.ready()
        except AssertionError as error:
            stuck.append(Finding("stuck", "", "", f"{answer or error}"))
        quiet = time.time() - started
        for _ in range(10):
            # An alert may just be ending by quiet: the provider has heard of it, its last checkpoint has not been read.
            await self.reader.read_on()
            account = take_account(
                self.reader, self.setting.sandbox, self.traffic.acked, prefix, shared=struck.by_kind(TWINS)
            )
            if not account.count("open_sets"):
                break
            await asyncio.sleep(1)
        account.findings += stuck
        await self.members.check_running()
        self.members.write_logs()
        trouble, self.members.trouble = self.members.trouble, []
        told_after = waits(self.reader, self.setting.sandbox, self.traffic.acked, prefix)
        recovery = max((recovery_seconds(told_after, *window) for window in struck.windows), default=0.0)
        longest = max((one.told - one.known for one in told_after), default=0.0)
        row = Row(name, len(struck.windows), account, recovery, longest, trouble)
        told = "; ".join(f"{begun - started:+.1f}…{over - started:+.1f} {kind}" for kind, begun, over in struck.log)
        print(f"  {name}: {told}; quiet after {quiet:.1f} s", flush=True)
        for failure in row.failures:
            print(f"    FAILED {failure}", flush=True)
        for number, finding in enumerate(one for one in account.findings if one.dedup_key in self.known(one.provider)):
            found = trace(self.reader, self.setting.sandbox, finding.provider, finding.dedup_key)
            (self._folder / f"trace-{prefix}{number}.txt").write_text(f"{finding}\n{found}\n")
        return row

    def known(self, provider: str) -> Collection[str]:
        """The dedup keys that the state has had."""
        return self.reader.history.get(provider, {}).keys()


class _Struck:
    """Which faults struck when."""

    def __init__(self) -> None:
        self.log: list[tuple[str, float, float]] = []

    @property
    def windows(self) -> list[tuple[float, float]]:
        return [(begun, over) for _, begun, over in self.log]

    def by_kind(self, name: str) -> list[tuple[float, float]]:
        """When faults of this kind struck."""
        return [(begun, over) for kind, begun, over in self.log if kind == name]

    async def by(self, kind: Kind, scene: Scene) -> None:
        begun = time.time()
        await kind.strike(scene)
        self.log.append((kind.name, begun, time.time()))


def table(rows: Sequence[Row]) -> str:
    """All rows, and their sum."""
    head = (
        "fault",
        "times",
        "events",
        "incidents",
        "lost",
        "extra",
        "excused",
        "wrong resolves",
        "other",
        "recovery",
        "longest wait",
    )
    lines = [head, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _line(row: Row) -> tuple[str, ...]:
    account = row.account
    known = ("lost", "extra", "wrong_resolve")
    other = len([one for one in account.findings if one.cause is None and one.kind not in known]) + len(row.trouble)
    excused = ", ".join(f"{count} {cause}" for cause, count in account.excused().items())
    return (
        row.name,
        str(row.times),
        str(account.alertable),
        str(account.incidents),
        str(account.count("lost")),
        str(account.count("extra")),
        excused or "0",
        str(account.count("wrong_resolve")),
        str(other),
        f"{row.recovery:.1f} s",
        f"{row.longest:.1f} s",
    )
