"""The faults. Each is a coroutine that strikes once and returns when the fault is over; what it needs, it is given.

`CATALOG` has all of them by name; `lane` says which may not strike at the same time as another of the same lane.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import docker.errors  # type: ignore[import-untyped]

from providers.sandbox import Delay, Drop, Fault, FaultyAnswer, Hang, LandLate, LoseAnswer
from providers.sandbox.faults import Effect
from tests.chaos.happened import Happened
from tests.chaos.members import Members
from tests.chaos.reader import Reader
from tests.chaos.setting import REBALANCE_SECONDS, SECRET_KEY, SESSION_SECONDS, TIMEOUT_SECONDS, Setting
from tests.chaos.traffic import Traffic
from tests.support.process import Service

SKEWED = "tests.chaos.skewed"
FREEZE_TRIES = 40
TWINS_SECONDS = 420.0
"""Until one of two members with one id has given up, where Kafka may be away for most of that."""

TWINS_STAY_SECONDS = 10.0
"""For the other one to show that it stays."""


@dataclass
class Scene:
    """What faults strike at, and the dice they throw. ``prefix`` is what the names of the phase's sessions begin with,
    ``happened`` what the account is told afterwards; in a phase that ``is_calm`` no fault strikes that passes. The
    alerts of the sessions ``may_owe`` were refused in an earlier phase and wait for their next attempt."""

    setting: Setting
    members: Members
    size: int
    chance: random.Random
    traffic: Traffic
    reader: Reader
    prefix: str = ""
    happened: Happened = field(default_factory=Happened)
    is_calm: bool = False
    may_owe: Collection[str] = ()

    def a_member(self) -> Service | None:
        """One of the members, if one runs."""
        return self.chance.choice(self.members.running) if self.members.running else None


Strike = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. ``recovery``: for so many seconds after it pages may still be late because of it.

    ``provider`` and ``key`` are whose pages it is in the way of; None: of all. ``deafens``: while it lasts a member may
    run that does not hear of what is written to Kafka.
    """

    name: str
    lane: str
    strike: Strike
    recovery: float
    provider: str | None = None
    key: str | None = None
    deafens: bool = False


async def kill(scene: Scene) -> None:
    """A member dies; another is started in its place after a while."""
    if (victim := scene.a_member()) is not None:
        await scene.members.kill(victim)
        await asyncio.sleep(scene.chance.uniform(0, 3))
        await scene.members.start()


async def kill_all(scene: Scene) -> None:
    """All members die at once; for a while there are none."""
    for victim in list(scene.members.running):
        await scene.members.kill(victim)
    await asyncio.sleep(scene.chance.uniform(0, 10))
    for _ in range(scene.size):
        await scene.members.start()


async def replace(scene: Scene) -> None:
    """A rolling update: a new member comes, an old one is asked to end."""
    await scene.members.start()
    if (victim := scene.a_member()) is not None:
        await scene.members.end(victim)


async def freeze(scene: Scene) -> None:
    """A member is stopped until its session is over, then goes on as if nothing had been."""
    await _freeze(scene, SESSION_SECONDS + scene.chance.uniform(0.5, 4))


async def freeze_shortly(scene: Scene) -> None:
    """A member is stopped for about as long as its proofs are fresh."""
    await _freeze(scene, SESSION_SECONDS * scene.chance.uniform(0.3, 0.9))


async def _freeze(scene: Scene, seconds: float) -> None:
    if (victim := scene.a_member()) is not None:
        await victim.freeze_for(seconds)


async def storm(scene: Scene) -> None:
    """Members join and leave, every second or so."""
    guests: list[Service] = []
    for _ in range(8):
        if guests and scene.chance.random() < 0.5:
            guest = guests.pop(scene.chance.randrange(len(guests)))
            if guest in scene.members.running:
                await (scene.members.kill if scene.chance.random() < 0.5 else scene.members.end)(guest)
        else:
            guests.append(await scene.members.start())
        await asyncio.sleep(scene.chance.uniform(0.5, 1.5))
    await asyncio.gather(*(scene.members.end(guest) for guest in guests if guest in scene.members.running))


async def twins(scene: Scene) -> None:
    """Two members with one group_instance_id: one of them has to give up by itself, and the other to go on."""
    kafka = {"group_instance_id": f"twin-{scene.chance.randrange(10**9)}"}
    pair = [await scene.members.start(watched=False, kafka=kafka) for _ in range(2)]
    ends = [asyncio.create_task(service.process.wait()) for service in pair]
    done, waiting = await asyncio.wait(ends, timeout=TWINS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        scene.members.trouble.append("neither of two members with one group_instance_id has given up")
    elif (await asyncio.wait(ends, timeout=TWINS_STAY_SECONDS))[1] == set():
        scene.members.trouble.append("both of two members with one group_instance_id have given up")
    for service in pair:
        if service.process.returncode is None:
            await scene.members.kill(service)
        elif service.process.returncode != 1:
            scene.members.trouble.append(f"a twin ended with {service.process.returncode}\n{service.tail()}")
    await asyncio.gather(*waiting)


async def jump(scene: Scene) -> None:
    """A member works for a while whose wall clock is wrong by up to some minutes, and then jumps to the other side."""
    seconds = scene.chance.choice((-1, 1)) * scene.chance.uniform(5, 300)
    environment = {"CHAOS_SKEW_SECONDS": f"{seconds:.1f}", "CHAOS_JUMP_AFTER": f"{scene.chance.uniform(3, 6):.1f}"}
    member = await scene.members.start(module=SKEWED, environment=environment)
    await asyncio.sleep(scene.chance.uniform(8, 12))
    if member in scene.members.running:
        await scene.members.end(member)


async def broker_kill(scene: Scene) -> None:
    """A broker dies and comes back."""
    node = scene.chance.choice(scene.setting.nodes)
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(scene.chance.uniform(0, 3))
    await asyncio.to_thread(node.start)


async def broker_restart(scene: Scene) -> None:
    """A broker is restarted in an orderly way."""
    node = scene.chance.choice(scene.setting.nodes)
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(node.start)


async def all_brokers_restart(scene: Scene) -> None:
    """Every broker ends, in an orderly way or not; for a while there is no Kafka at all."""
    nodes, orderly = scene.setting.nodes, scene.chance.random() < 0.5
    await asyncio.gather(*(asyncio.to_thread(node.stop if orderly else node.kill) for node in nodes))
    await asyncio.sleep(scene.chance.uniform(0, 3))
    await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))


async def broker_pause(scene: Scene) -> None:
    """A broker freezes, for less or for more than a session."""
    node, seconds = scene.chance.choice(scene.setting.nodes), SESSION_SECONDS * scene.chance.uniform(0.5, 2)
    await _insist(node.pause)
    await asyncio.sleep(seconds)
    await _insist(node.unpause)


async def _insist(act: Callable[[], None]) -> None:
    """Freeze or wake a container; a busy machine may be unable to at first."""
    for attempt in range(FREEZE_TRIES):
        try:
            await asyncio.to_thread(act)
            return
        except docker.errors.APIError:
            if attempt + 1 == FREEZE_TRIES:
                raise
            await asyncio.sleep(0.5)


async def cut(scene: Scene) -> None:
    """Every second member loses all its connections to Kafka."""
    await _proxies(scene, "cut", scene.chance.uniform(0.2, 3))


async def stall(scene: Scene) -> None:
    """Nothing passes between every second member and Kafka; connections stay."""
    await _proxies(scene, "stall", SESSION_SECONDS * scene.chance.uniform(0.5, 2))


async def no_coordinator(scene: Scene) -> None:
    """Every second member is cut off from its coordinator, while fetches and transactions go on."""
    await _proxies(scene, "stall_coordination", SESSION_SECONDS * scene.chance.uniform(1, 2))


async def _proxies(scene: Scene, what: str, seconds: float) -> None:
    try:
        for proxy in scene.setting.proxies:
            getattr(proxy, what)()
        await asyncio.sleep(seconds)
    finally:
        for proxy in scene.setting.proxies:
            proxy.restore()


async def slow_network(scene: Scene) -> None:
    """Everything between every second member and Kafka takes longer."""
    delay = scene.chance.uniform(0.05, 0.4)
    try:
        for proxy in scene.setting.proxies:
            proxy.delay_seconds = delay
        await asyncio.sleep(scene.chance.uniform(3, 8))
    finally:
        for proxy in scene.setting.proxies:
            proxy.delay_seconds = 0.0


def _provider(effect: Effect, *, part: float = 1.0, action: str | None = None, untold: bool = False) -> Strike:
    async def strike(scene: Scene) -> None:
        fault = Fault(effect, chance=part, seed=scene.chance.randrange(10**6), action=action, untold=untold)
        armed = scene.setting.sandbox.faults.add(fault)
        try:
            await asyncio.sleep(scene.chance.uniform(1, 4) + TIMEOUT_SECONDS / 2)
        finally:
            armed.remove()

    return strike


async def refused_key(scene: Scene) -> None:
    """One team's routing key is revoked for a while."""
    keys = scene.setting.sandbox.keys("pagerduty")
    keys.revoke(SECRET_KEY)
    await asyncio.sleep(scene.chance.uniform(1, 5))
    keys.restore(SECRET_KEY)


MEMBERS, KAFKA, NETWORK, PROVIDER, WAY = "members", "kafka", "the way to kafka", "provider", "the way to the provider"
TWINS = "one instance id twice"

MISSED_SECONDS = SESSION_SECONDS + REBALANCE_SECONDS
"""Until a member is missed, and then those that have not noticed yet are no longer waited for."""
PROBED_SECONDS = TIMEOUT_SECONDS + 3
"""Until a provider that works again is found out by a probe."""
SILENT_SECONDS = 60.0 + PROBED_SECONDS
"""So long nothing leaves through a key that was answered 429 (design section 13)."""


def _members(name: str, strike: Strike, *, deafens: bool = False) -> Kind:
    return Kind(name, MEMBERS, strike, MISSED_SECONDS, deafens=deafens)


def _kafka(name: str, strike: Strike) -> Kind:
    return Kind(name, KAFKA, strike, MISSED_SECONDS, deafens=True)


def _network(name: str, strike: Strike) -> Kind:
    return Kind(name, NETWORK, strike, MISSED_SECONDS, deafens=True)


def _at_provider(name: str, strike: Strike, recovery: float = PROBED_SECONDS, **whose: str) -> Kind:
    return Kind(name, PROVIDER, strike, recovery, whose.get("provider"), whose.get("key"))


def _on_the_way(name: str, strike: Strike) -> Kind:
    return Kind(name, WAY, strike, PROBED_SECONDS)


_KINDS = (
    _members("kill -9", kill),
    _members("kill -9 all", kill_all),
    _members("rolling update", replace),
    _members("SIGSTOP > session", freeze, deafens=True),
    _members("SIGSTOP < session", freeze_shortly, deafens=True),
    _members("rebalance storm", storm),
    _members(TWINS, twins),
    _members("clock jumps", jump),
    _kafka("broker killed", broker_kill),
    _kafka("broker restarted", broker_restart),
    _kafka("all brokers restarted", all_brokers_restart),
    _kafka("broker paused", broker_pause),
    _network("connections cut", cut),
    _network("connections stalled", stall),
    _network("coordinator cut off", no_coordinator),
    _network("slow network", slow_network),
    _at_provider("503", _provider(FaultyAnswer(status=503))),
    _at_provider("503 after applying", _provider(FaultyAnswer(status=503, applied=True), part=0.5)),
    _at_provider("429", _provider(FaultyAnswer(status=429)), SILENT_SECONDS),
    _at_provider(
        "429 Retry-After", _provider(FaultyAnswer(status=429, headers={"Retry-After": "1"}), part=0.5), SILENT_SECONDS
    ),
    _on_the_way("hang", _provider(Hang(), part=0.4)),
    _on_the_way("drop before applying", _provider(Drop(), part=0.5)),
    _on_the_way("drop after applying", _provider(LoseAnswer(), part=0.5)),
    _on_the_way("slow", _provider(Delay(1.5), part=0.5)),
    _on_the_way("too slow", _provider(Delay(3.0), part=0.4)),
    _on_the_way("lands late", _provider(LandLate(3.0), part=0.4)),
    _at_provider("rejected triggers", _provider(FaultyAnswer(status=413), part=0.3, action="trigger", untold=True)),
    _at_provider("key refused", refused_key, provider="pagerduty", key=SECRET_KEY),
)

CATALOG: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
