"""A run: phases of traffic, faults and troubles that stay, each of which ends in a quiet moment and an account."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.account import Account, take_account, told_again
from tests.chaos.changes import Change
from tests.chaos.faults import CATALOG, MISSED_SECONDS, TWINS, Kind, Scene
from tests.chaos.finding import Finding
from tests.chaos.happened import Happened, Refusal, Rendering, Rotation, Window
from tests.chaos.history import history_findings
from tests.chaos.keying import is_of, session_of
from tests.chaos.lasting import Lasting
from tests.chaos.lateness import lateness, pages, recovery_seconds, waits
from tests.chaos.members import Members
from tests.chaos.punctuality import Punctuality
from tests.chaos.reader import Reader
from tests.chaos.setting import QUIET_SECONDS, Setting
from tests.chaos.table import Row
from tests.chaos.trace import trace
from tests.chaos.traffic import Traffic
from tests.support.waiting import wait_until

WARM_SECONDS, TAIL_SECONDS = 2.0, 1.0
BETWEEN_SECONDS = (0.2, 1.5)
"""So long a lane rests between two faults."""
QUIET_TIMEOUT_SECONDS = 120.0
ENDING_TRIES = 10
ENDED_TIMEOUT_SECONDS = 2 * QUIET_SECONDS + 30.0
"""Until all that is quiet is resolved: quiet begins anew at a take-over."""


class Run:
    """Members against a setting, and what is known about them."""

    def __init__(self, setting: Setting, folder: Path, *, seed: int, members: int, per_second: float) -> None:
        self.setting = setting
        self.seed = seed
        self.size = members
        self.members = Members(setting.world.document, setting.proxied, folder)
        world = setting.world
        self.traffic = Traffic(world.bootstrap_servers, world.events, per_second, partitions=world.partitions)
        self.reader = Reader(world, setting.providers)
        self.rows: list[Row] = []
        self._phases = 0
        self._refusals: list[Refusal] = []
        # What has changed stays so in the phases that follow.
        self._rotations: list[Rotation] = []
        self._renderings: list[Rendering] = []
        self._deaf: list[tuple[float, float]] = []
        self._windows: list[Window] = []
        self._folder = folder

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """The members run for the length of the block; at its end they leave, each with 0."""
        try:
            await self.members.start_all(self.size)
            await self.members.ready()
            yield
            end = await self._close_books()
            await self.members.check_running()
            await self.members.end_all()
            end.trouble += self.members.trouble
            if end.failures or self._refusals:
                self.rows.append(end)
        finally:
            await self.members.kill_all()

    async def alone(self, kind: Kind, times: int = 2) -> Row:
        """One kind of fault, so many times, with pauses of random length."""

        async def strikes(struck: "_Struck") -> None:
            scene = self._scene(kind.name, struck)
            for strike in range(times):
                if strike:
                    await asyncio.sleep(scene.chance.uniform(0.5, 4))
                await struck.by(kind, scene)

        return await self._phase(kind.name, strikes)

    async def lasting(self, name: str, kinds: Sequence[Lasting]) -> Row:
        """These troubles that stay, as long as the one that takes longest, and no other fault."""
        seconds = max(kind.seconds for kind in kinds)
        return await self._phase(name, lambda struck: asyncio.sleep(seconds), kinds, is_calm=True)

    async def changing(self, change: Change) -> Row:
        """Something changes in the midst of the phase, once. The account is taken when all its problems have ended."""

        async def strikes(struck: "_Struck") -> None:
            scene = replace(self._scene(change.name, struck), may_owe=self._may_owe(struck.happened))
            await asyncio.sleep(change.seconds)
            struck.changed = time.time()
            await change.make(scene)
            struck.lasting.append(f"{change.name}, after {time.time() - struck.changed:.1f} s")
            await asyncio.sleep(change.seconds)

        self.traffic.endless, self.traffic.moves = set(range(self.reader.partitions)), True
        try:
            return await self._phase(change.name, strikes, is_calm=True)
        finally:
            self.traffic.endless, self.traffic.moves = set(), False

    async def together(
        self, seconds: float, kinds: Sequence[Kind] | None = None, lasting: Sequence[Lasting] = ()
    ) -> Row:
        """All lanes at once, each with one random fault after the other, so long, under these troubles that stay."""
        name = f"together {self._phases + 1}"
        kinds = list(CATALOG.values()) if kinds is None else list(kinds)
        clock = asyncio.get_running_loop().time

        async def lane(lane: str, struck: "_Struck", until: float) -> None:
            scene = self._scene(f"{name}/{lane}", struck)
            mine = [kind for kind in kinds if kind.lane == lane]
            while clock() < until:
                await asyncio.sleep(scene.chance.uniform(*BETWEEN_SECONDS))
                await struck.by(scene.chance.choice(mine), scene)

        async def strikes(struck: "_Struck") -> None:
            until = clock() + seconds
            async with asyncio.TaskGroup() as group:
                for one in {kind.lane for kind in kinds}:
                    group.create_task(lane(one, struck, until))
                group.create_task(asyncio.sleep(seconds))

        return await self._phase(name, strikes, lasting)

    def _scene(self, what: str, struck: "_Struck") -> Scene:
        chance = random.Random(f"{self.seed}/{what}")
        return Scene(
            self.setting, self.members, self.size, chance, self.traffic, self.reader, struck.prefix, struck.happened
        )

    async def _phase(
        self, name: str, strikes: "Strikes", lasting: Sequence[Lasting] = (), *, is_calm: bool = False
    ) -> Row:
        self._phases += 1
        prefix = f"p{self._phases}"
        struck, punctuality = _Struck(f"{prefix}-"), Punctuality()
        struck.happened.rotations, struck.happened.renderings = self._rotations, self._renderings
        struck.happened.deaf, struck.happened.windows = self._deaf, self._windows
        scene = replace(self._scene(f"{name}/lasting", struck), is_calm=is_calm)
        async with punctuality.watched(), contextlib.AsyncExitStack() as until_judged:
            async with contextlib.AsyncExitStack() as during:
                for one in lasting:
                    await (until_judged if one.until_judged else during).enter_async_context(one.context(scene))
                    struck.lasting.append(one.name)
                async with self.traffic.flowing(prefix, f"{self.seed}/{name}"):
                    await asyncio.sleep(WARM_SECONDS)
                    await strikes(struck)
                    await self._trim(struck)
                    await asyncio.sleep(TAIL_SECONDS)
            row = await self._account(name, struck, punctuality)
        # What the troubles that have just ended had to say of it.
        row.trouble += self.members.trouble
        self.members.trouble = []
        self._refusals += struck.happened.refusals
        for failure in row.failures:
            print(f"    FAILED {failure}", flush=True)
        self.rows.append(row)
        return row

    async def _trim(self, struck: "_Struck") -> None:
        """Back to as many members as there shall be."""
        begun, before = time.time(), list(self.members.running)
        while len(self.members.running) < self.size:
            await self.members.start()
        while len(self.members.running) > self.size:
            await self.members.end(self.members.running[0])
        if before != self.members.running:
            struck.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))

    def _may_owe(self, happened: Happened) -> Collection[str]:
        """The sessions whose alerts are refused, or have been in an earlier phase and wait for their next attempt."""
        return {session for refusal in (*self._refusals, *happened.refusals) for session in refusal.sessions}

    async def _quiet(self, happened: Happened) -> list[Finding]:
        """Wait until all is told, resolved and committed; returns what is not."""
        answer: str | None = "nothing was looked at"
        may_owe = self._may_owe(happened)

        async def is_quiet() -> bool:
            nonlocal answer
            answer = await self.reader.is_quiet(may_owe)
            return answer is None

        try:
            await wait_until(is_quiet, "everything is quiet", timeout=QUIET_TIMEOUT_SECONDS, poll=0.5)
            await self.members.ready()
        except AssertionError as error:
            return [Finding("stuck", "", "", f"{answer or error}")]
        return []

    async def _ended(self, prefix: str) -> list[Finding]:
        """Wait until no alert of these sessions is left; returns those that are."""
        left: list[Finding] = []

        async def have_ended() -> bool:
            await self.reader.read_on()
            left[:] = [
                Finding("never_resolved", provider, key, f"is {alert.status.value} long after its last event")
                for provider in self.reader.providers
                for key, alert in self.reader.open_alerts(provider).items()
                if is_of(key, provider, prefix)
            ]
            return not left

        with contextlib.suppress(AssertionError):
            await wait_until(have_ended, "all has ended", timeout=ENDED_TIMEOUT_SECONDS, poll=1.0)
        return left

    async def _close_books(self) -> Row:
        """At the very end: all that was quiet is resolved, and what was refused and is not any more is not lost."""
        happened = Happened(
            self._refusals, self._windows, rotations=self._rotations, renderings=self._renderings, deaf=self._deaf
        )
        started = time.time()
        may_owe = self._may_owe(happened)
        left: list[str] = []

        async def all_ended() -> bool:
            await self.reader.read_on()
            left[:] = [
                f"{provider} {key} is {alert.status.value}"
                for provider in self.reader.providers
                for key, alert in self.reader.open_alerts(provider).items()
                if alert.session_id not in may_owe
            ]
            return not left

        row = Row("the end", 0, Account(), 0.0)
        try:
            await wait_until(all_ended, "all is resolved", timeout=ENDED_TIMEOUT_SECONDS, poll=1.0)
        except AssertionError:
            row.account.findings.append(Finding("never_resolved", "", "", f"{len(left)} alerts, {left[:3]}"))
        account = await self._settled_account("p", happened)
        row.account.findings += [
            one for one in account.findings if one.dedup_key and session_of(one.dedup_key, one.provider) in may_owe
        ]
        waiting = sum(
            alert.owed is not None
            for provider in self.reader.providers
            for alert in self.reader.open_alerts(provider).values()
        )
        print(
            f"  the end: all is resolved after {time.time() - started:.1f} s, {waiting} refused ones wait", flush=True
        )
        for failure in row.failures:
            print(f"    FAILED {failure}", flush=True)
        return row

    async def _settled_account(self, prefix: str, happened: Happened) -> Account:
        """The account of these sessions. An alert may just be ending, by quiet or because it is not refused any more:
        the provider has heard of it, its last checkpoint has not been read. So it is taken again for a while."""
        for _ in range(ENDING_TRIES):
            await self.reader.read_on()
            account = take_account(self.reader, self.setting.sandbox, self.traffic.acked, prefix, happened)
            account.findings += history_findings(self.reader, prefix, happened)
            if not account.count("open_sets", "history"):
                break
            await asyncio.sleep(1)
        return account

    async def _account(self, name: str, struck: "_Struck", punctuality: Punctuality) -> Row:
        started, prefix, happened = time.time(), struck.prefix, struck.happened
        stuck = await self._quiet(happened)
        quiet = time.time() - started
        happened.shared = struck.by_kind(TWINS)
        happened.windows += [*struck.in_the_way(), *punctuality.windows]
        happened.deaf += [(begun, over) for kind, begun, over in struck.log if kind.deafens]
        happened.deaf += [(one.begun, one.over) for one in punctuality.windows]
        if struck.changed is not None and not stuck:
            stuck = await self._ended(prefix)
        account = await self._settled_account(prefix, happened)
        account.findings += stuck
        if struck.changed is not None:
            may_owe = self._may_owe(happened)
            account.findings += told_again(self.reader, self.setting.sandbox, prefix, struck.changed, may_owe)
        await self.members.check_running()
        self.members.write_logs()
        trouble, self.members.trouble = self.members.trouble, []
        told_after = waits(self.reader, self.setting.sandbox, self.traffic.acked, prefix, happened)
        recovery = max((recovery_seconds(told_after, *window) for window in struck.windows), default=0.0)
        longest = max((one.told - one.known for one in told_after), default=0.0)
        found = pages(self.reader, self.setting.sandbox, self.traffic.acked, prefix, happened)
        late = lateness(found, happened.windows, self.setting.per_second)
        times = len(struck.windows) + len(struck.lasting)
        row = Row(name, times, account, recovery, longest, late, punctuality.longest, trouble)
        told = [f"{begun - started:+.1f}…{over - started:+.1f} {kind.name}" for kind, begun, over in struck.log]
        told += [f"{one.begun - started:+.1f}…{one.over - started:+.1f} {one}" for one in happened.hidden]
        print(f"  {name}: {'; '.join([*struck.lasting, *told])}; quiet after {quiet:.1f} s", flush=True)
        print(
            f"    {late.judged} pages with nothing in the way, the longest wait of any {late.longest:.1f} s", flush=True
        )
        if account.silenced:
            print(f"    {account.silenced} events silenced for certain", flush=True)
        findings = (*account.findings, *late.findings)
        for number, finding in enumerate(one for one in findings if one.dedup_key in self.known(one.provider)):
            text = trace(self.reader, self.setting.sandbox, finding.provider, finding.dedup_key, happened.renderings)
            (self._folder / f"trace-{prefix}{number}.txt").write_text(f"{finding}\n{text}\n")
        return row

    def known(self, provider: str) -> Collection[str]:
        """The dedup keys that the state has had."""
        return self.reader.history.get(provider, {}).keys()


@dataclass
class _Struck:
    """Which faults struck when in a phase, and what else there was. ``prefix`` is that of its sessions; ``changed`` is
    when a change began, if there was one."""

    prefix: str
    lasting: list[str] = field(default_factory=list)
    log: list[tuple[Kind, float, float]] = field(default_factory=list)
    happened: Happened = field(default_factory=Happened)
    changed: float | None = None

    @property
    def windows(self) -> list[tuple[float, float]]:
        return [(begun, over) for _, begun, over in self.log]

    def by_kind(self, name: str) -> list[tuple[float, float]]:
        """When faults of this kind struck."""
        return [(begun, over) for kind, begun, over in self.log if kind.name == name]

    def in_the_way(self) -> list[Window]:
        """When they were in the way of whose pages, the time that recovering may take included."""
        return [Window(begun, over + kind.recovery, kind.provider, kind.key) for kind, begun, over in self.log]

    async def by(self, kind: Kind, scene: Scene) -> None:
        begun = time.time()
        await kind.strike(scene)
        self.log.append((kind, begun, time.time()))


Strikes = Callable[[_Struck], Awaitable[object]]
