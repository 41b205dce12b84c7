"""Somebody silences alerts by our own command: some silences run out, some are ended early, some are late."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count

from aiokafka.errors import KafkaError

from tests.chaos.beside import beside, passed
from tests.chaos.faults import MISSED_SECONDS, Scene, kill, kill_all
from tests.chaos.happened import Window
from tests.chaos.silences import TENANT, Silences
from tests.chaos.traffic import GUARDS
from tests.support.kafka import produce

BETWEEN_SECONDS = (3.0, 5.0)
"""Between two silences."""
LASTS = (6, 12)
"""For how many seconds a silence is set, from and to."""
LONG_SECONDS = 45
"""The first one, longer than it takes until a problem is over by quiet."""
LATE_SECONDS = 6.0
"""So long after its start a silence is written that is late."""
TRY_SECONDS = 300.0
"""After which a command is not tried any more while brokers are away."""
NEAR_SECONDS = 1.0
"""So near to the end of a silence a member dies."""


@contextlib.asynccontextmanager
async def silences(scene: Scene) -> AsyncIterator[None]:
    """Silences are set, one after the other, and end while events come; where nothing else does it, members die then.

    In each partition there is a session that is denied all the time: at the ends of silences there are live problems.
    """
    over, silencing = asyncio.Event(), _Silencing(scene)
    endless = set(range(scene.traffic.partitions or 1)) - scene.traffic.endless
    scene.traffic.endless |= endless
    first = await silencing.add("--session", f"{scene.prefix}*3", "--include-critical", lasts=LONG_SECONDS)
    async with beside(scene, "nobody could silence anything", lambda: silencing.go_on(first, over), over):
        yield
        scene.traffic.endless -= endless
    await scene.reader.read_on()
    known = Silences(scene.reader.silences, scene.happened.deaf)
    is_silent = any(
        known.earliest_end(one, event.sent) is not None
        for event in scene.reader.events
        if event.guard is not None and event.session.startswith(scene.prefix)
        for provider in scene.reader.providers
        for one in known.of(provider, event.guard, event.session, is_critical=event.is_critical)
    )
    if scene.is_calm and not is_silent:
        scene.members.trouble.append("no event was silenced for certain")


class _Silencing:
    """The silences of a phase."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._numbers = count(1)
        self._may_kill = asyncio.Lock()
        self._deaths = count(1)

    async def go_on(self, first: tuple[str, float], over: asyncio.Event) -> None:
        """Set one after the other until it is ``over``, and wait until all have ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_out(*first))
            for number in count():
                await passed(over, self._scene.chance.uniform(*BETWEEN_SECONDS))
                if over.is_set():
                    return
                group.create_task(self._one(number))

    async def add(self, *match: str, lasts: int, begins: float | None = None) -> tuple[str, float]:
        """Set one, for so many seconds from now (or from ``begins``) on. Returns its id, and about when it ends."""
        name, prefix = f"{self._scene.prefix}{next(self._numbers)}", ("silences", "add", "--yes", "--reason", "chaos")
        start = () if begins is None else ("--from", datetime.fromtimestamp(begins, UTC).isoformat())
        end = (time.time() if begins is None else begins) + lasts
        await self._insist(*prefix, "--id", name, "--for", f"{lasts}s", *match, *start)
        return name, max(end, time.time() if begins is not None else time.time() + lasts)

    async def _one(self, number: int) -> None:
        scene, chance = self._scene, self._scene.chance
        sessions = ("--session", f"{scene.prefix}*")
        match = (
            (*sessions, "--guard", chance.choice(GUARDS)),
            (*sessions, "--guard", f"{chance.choice(GUARDS)[:4]}*", "--include-critical"),
            ("--session", f"{scene.prefix}*{chance.randrange(10)}", "--tenant", TENANT),
            (
                *sessions,
                "--guard",
                chance.choice(GUARDS),
                "--include-critical",
                "--provider",
                scene.setting.providers[0],
            ),
        )[number % 4]
        lasts, begins = chance.randint(*LASTS), None
        if number % 3 == 1:
            lasts, begins = lasts + int(2 * LATE_SECONDS), time.time() - LATE_SECONDS
        name, end = await self.add(*match, lasts=lasts, begins=begins)
        await self._malformed(name)
        if number % 3 == 0:
            await asyncio.sleep(max(0.0, end - time.time()) / 2)
            await asyncio.gather(self._insist("silences", "expire", name, "--yes"), self._somebody_dies(0.0))
        else:
            await self._run_out(name, end)

    async def _run_out(self, name: str, end: float) -> None:
        await self._somebody_dies(end - self._scene.chance.uniform(-NEAR_SECONDS, NEAR_SECONDS) - time.time())
        await asyncio.sleep(max(0.0, end - time.time()))

    async def _somebody_dies(self, after: float) -> None:
        """One member, or every third time all of them, one death after the other, where no other fault kills any."""
        chance = self._scene.chance
        await asyncio.sleep(max(0.0, after))
        if not self._scene.is_calm or self._may_kill.locked() or chance.random() < 0.3:
            return
        async with self._may_kill:
            begun, kills_all = time.time(), next(self._deaths) % 3 == 2
            await (kill_all if kills_all else kill)(self._scene)
            self._scene.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))
            print(f"    {'all members' if kills_all else 'a member'} died near the end of a silence", flush=True)

    async def _malformed(self, name: str) -> None:
        """What says nothing is thrown in: under a key of its own, and under that of a silence."""
        world, end = self._scene.setting.world, time.monotonic() + TRY_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(KafkaError):
                for key in ("evil", name):
                    await produce(world.bootstrap_servers, world.silences, [b"{\x00"], key=key.encode())
                return
            await asyncio.sleep(0.5)

    async def _insist(self, *arguments: str) -> None:
        """Run a command, again where a broker is away; that it was carried out before is an answer as well."""
        end = time.monotonic() + TRY_SECONDS
        while True:
            code, output = await self._scene.members.tried(*arguments)
            if code == 0 or (code == 2 and "there is a silence" in output):
                return
            if code != 1 or self._scene.is_calm or time.monotonic() > end:
                self._scene.members.trouble.append(f"{' '.join(arguments)} ended with {code}: {output}")
                return
            await asyncio.sleep(0.5)
