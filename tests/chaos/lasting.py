"""The troubles that stay: each begins before a phase's traffic and is there until its end, several at a time.

Each is a context: what it has done is told to the account when it leaves (`Scene.happened`). `LASTING` has all by name.
"""

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import structlog
import yaml
from prometheus_client import CollectorRegistry

from consumer.config import parse_config
from consumer.kafka.clients import KafkaClients
from consumer.receivers.webhooks.service import feedback_producers, taking_webhooks
from providers.sandbox import Fault, FaultyAnswer, Hang, Mischief, SandboxSubscription
from tests.chaos.beside import beside, passed
from tests.chaos.faults import MISSED_SECONDS, SILENT_SECONDS, SKEWED, Scene
from tests.chaos.foreign import transaction
from tests.chaos.growth import grow
from tests.chaos.happened import Refusal, Window
from tests.chaos.keying import dedup_key, session_of
from tests.chaos.members import Odd
from tests.chaos.problem import ENDING
from tests.chaos.setting import QUIET_SECONDS, SHARED_KEY
from tests.chaos.silencing import silences
from tests.support.kafka import unique
from tests.support.service import API_KEY
from tests.support.waiting import wait_until

ONE_IN = 20
SESSIONS = 4000
"""More than there are in a phase."""

YEAR_SECONDS = 365 * 86400.0
STANDS_STILL_SECONDS = 60.0
"""Until a stable offset that does not move is noticed (design section 15)."""
RESTORED_KEY_SECONDS = 15.0
"""Until a key that works again is found out: one check every 10 s (design section 13), and a moment."""
SEEN_FIRST_SECONDS = 8.0
"""So long a problem can be read before a transaction hides the rest of it."""
SHORT_TRANSACTION_SECONDS = 2.0
"""With the moment until it is noticed less than the 5 s for which transactions may hide what is behind them, where
quiet ends an alert as soon as here (design section 15: a tenth of ``after_minutes``, at least that)."""
RESOLVED_SECONDS = QUIET_SECONDS + 20.0
"""After so long what is quiet is resolved, where each record may be read some seconds later than it was written."""
AT_LAST_SECONDS = 60.0
"""So much longer it may take on a machine that is busy: a moment that is missed, and quiescence begins anew."""
READ_AGAIN_SECONDS = 15.0
"""So long after the old certificate was refused it is looked whether anybody has shown it."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """A kind of trouble that stays. ``seconds`` is how long a phase of it alone is.

    ``until_judged``: it is still there when the account of the phase is taken.
    """

    name: str
    context: Callable[[Scene], AbstractAsyncContextManager[None]]
    seconds: float = 40.0
    until_judged: bool = False


def refused(status: int | None, first: int) -> Callable[[Scene], AbstractAsyncContextManager[None]]:
    """One alert in twenty is refused for ever (None: never answered); of every second of these only the end is.

    ``first`` is the number of the first session; those of kinds that come together must differ.
    """

    @contextlib.asynccontextmanager
    async def context(scene: Scene) -> AsyncIterator[None]:
        effect = Hang() if status is None else FaultyAnswer(status=status, body="<html>blocked</html>")
        faults: list[Fault] = []
        for only_ends, begin in ((False, first), (True, first + ONE_IN)):
            numbers = range(begin, SESSIONS, 2 * ONE_IN)
            sessions = frozenset(f"{scene.prefix}{number}" for number in numbers)
            scene.happened.refusals.append(Refusal(sessions, status, only_ends))
            pattern = re.compile(f"[:-]{scene.prefix}(?:{'|'.join(map(str, numbers))})$")
            actions = ENDING.values() if only_ends else (None,)
            faults += [Fault(effect, dedup_key_pattern=pattern, action=action) for action in actions]
        armed = [scene.setting.sandbox.faults.add(fault, first=True) for fault in faults]
        try:
            yield
        finally:
            if not any(one.hits for one in armed):
                scene.members.trouble.append(f"nothing was refused with {status}")
            for one in armed:
                one.remove()

    return context


def revoked(
    provider: str, key: str, *, malformed: bool = False
) -> Callable[[Scene], AbstractAsyncContextManager[None]]:
    """One integration's key is not known any more; at least one member has to say that it is not ready."""

    @contextlib.asynccontextmanager
    async def context(scene: Scene) -> AsyncIterator[None]:
        if provider not in scene.setting.providers:
            yield
            return
        keys, begun = scene.setting.sandbox.keys(provider), time.time()
        keys.revoke(key, malformed=malformed)
        try:
            yield
            # (One that has just come finds it out when something leaves, and after a 429 nothing does for a while.)
            if await _all_ready(scene, within=0.0 if scene.is_calm else SILENT_SECONDS):
                scene.members.trouble.append(f"a key of {provider} is revoked, and all members say that they are ready")
        finally:
            keys.restore(key)
            scene.happened.windows.append(Window(begun, time.time() + RESTORED_KEY_SECONDS, provider, key))

    return context


@contextlib.asynccontextmanager
async def wrong_clock(scene: Scene) -> AsyncIterator[None]:
    """One member's clock is wrong, by a minute or a year or what lies between, ahead or behind."""
    members = scene.members
    sign, seconds = scene.chance.choice((-1, 1)), math.exp(scene.chance.uniform(math.log(60), math.log(YEAR_SECONDS)))
    members.odd = Odd(SKEWED, {"CHAOS_SKEW_SECONDS": f"{sign * seconds:.0f}"})
    print(f"    a clock is {sign * seconds / 3600:+.1f} h off", flush=True)
    try:
        right = members.running[0]
        await members.start()
        await members.end(right)
        try:
            await members.ready()
        except AssertionError as error:
            members.trouble.append(f"with a clock {sign * seconds:+.0f} s off: {error}")
        yield
    finally:
        begun, members.odd = time.time(), None
        for odd in members.odd_ones():
            await members.start()
            await members.end(odd)
        scene.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))


@contextlib.asynccontextmanager
async def open_transaction(scene: Scene) -> AsyncIterator[None]:
    """Another producer's transaction in a partition stays open: what comes behind it is hidden until it ends.

    One session there goes on being denied all the time: its alert is live, and what can be read of it is quiet.
    """
    partition, over = scene.chance.randrange(scene.traffic.partitions or 1), asyncio.Event()

    async def write() -> None:
        await passed(over, SEEN_FIRST_SECONDS)
        async with transaction(scene, unique("foreign"), partition):
            await over.wait()

    begun = time.time()
    scene.traffic.endless.add(partition)
    async with beside(scene, "the open transaction", write, over):
        yield
        scene.traffic.endless.discard(partition)
        # (A member that has come meanwhile has not seen it stand still for so long.)
        lasted = time.time() - begun > SEEN_FIRST_SECONDS + 1.5 * STANDS_STILL_SECONDS
        if scene.is_calm and lasted and await _all_ready(scene):
            text = f"partition {partition} was hidden for a minute, and all members say that they are ready"
            scene.members.trouble.append(text)


@contextlib.asynccontextmanager
async def transactions_back_to_back(scene: Scene) -> AsyncIterator[None]:
    """Another producer writes one transaction after the other into a partition, each open for some seconds.

    What is quiet there has to be resolved all the same.
    """
    partition, name = scene.chance.randrange(scene.traffic.partitions or 1), unique("foreign")
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            async with transaction(scene, name, partition):
                await passed(over, SHORT_TRANSACTION_SECONDS)

    async with beside(scene, "transactions back to back", write, over):
        yield
        since, end = time.time() - RESOLVED_SECONDS, time.monotonic() + AT_LAST_SECONDS
        left = await _still_open(scene, partition, since) if scene.is_calm else []
        while left and time.monotonic() < end:
            await asyncio.sleep(1.0)
            left = await _still_open(scene, partition, since)
        if left:
            text = f"{len(left)} alerts of partition {partition} are open that have long been quiet, {left[:3]}"
            scene.members.trouble.append(text)


async def _still_open(scene: Scene, partition: int, since: float) -> list[str]:
    """The alerts of this phase and partition that are open although nothing has come since then."""
    reader = scene.reader
    await reader.read_on()
    last: dict[str, float] = {}
    for one in reader.events:
        if one.partition == partition and one.guard is not None:
            for provider in reader.providers:
                last[dedup_key(provider, one)] = one.sent
    return [
        key
        for provider in reader.providers
        for key, alert in reader.open_alerts(provider).items()
        if (alert.session_id or "").startswith(scene.prefix) and last.get(key, since) < since
        if scene.happened.refusal(session_of(key, provider)) is None
    ]


@contextlib.asynccontextmanager
async def partition_added(scene: Scene) -> AsyncIterator[None]:
    """In the middle of it the state topics grow by one partition, then the events topic. Keys stay where they are."""
    after = scene.chance.uniform(4, 8)
    async with beside(scene, "no partition could be added", lambda: grow(scene, after), asyncio.Event()):
        yield


@contextlib.asynccontextmanager
async def certificates_change(scene: Scene) -> AsyncIterator[None]:
    """The members' certificate is replaced; a few seconds later the old one is refused, and connections are cut."""
    after = scene.chance.uniform(4, 8)
    what = "certificates could not be replaced"
    async with beside(scene, what, lambda: _revoke_certificate(scene, after), asyncio.Event()):
        yield


async def _revoke_certificate(scene: Scene, after: float) -> None:
    certificates, proxies = scene.setting.certificates, scene.setting.proxies
    old = certificates.name
    await asyncio.to_thread(certificates.change)
    await asyncio.sleep(after)
    begun = time.time()
    for proxy in proxies:
        proxy.revoked.add(old)
        proxy.cut()
    await asyncio.sleep(0.5)
    for proxy in proxies:
        proxy.restore()
    scene.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))
    await asyncio.sleep(READ_AGAIN_SECONDS)
    for proxy in proxies:
        if proxy.turned_away:
            scene.members.trouble.append(
                f"{len(proxy.turned_away)} times a certificate was shown that had been replaced"
            )
            proxy.turned_away.clear()


SILENCES = "silences"
WEBHOOKS = "webhooks lost, doubled, late"
MISCHIEF = Mischief(lost=0.1, doubled=0.2, late=1.5 * QUIET_SECONDS)
"""Later than an alert here takes to be quiet and to end, as minutes are elsewhere: so a resolve is heard of when its
problem has come back, or is long over."""

ACT_SECONDS = (0.1, 0.8)
"""Between two things that people do."""

WEBHOOK_SECRET = "chaos-webhooks-0123456789"


@contextlib.asynccontextmanager
async def webhooks(scene: Scene) -> AsyncIterator[None]:
    """People acknowledge and resolve at the provider, and what is heard of it is lost, doubled, late and out of order.

    The receiver is in this process: what becomes of one that dies is what becomes of a webhook that is late.
    """
    sandbox, world, over = scene.setting.sandbox, scene.setting.world, asyncio.Event()

    async def act() -> None:
        while not over.is_set():
            await passed(over, scene.chance.uniform(*ACT_SECONDS))
            provider = scene.chance.choice(list(scene.setting.providers))
            there = [
                one
                for one in sandbox.open_incidents(provider)
                if session_of(one.dedup_key, provider).startswith(scene.prefix)
            ]
            if there:
                do = sandbox.close if scene.chance.random() < 0.5 else sandbox.acknowledge
                do(provider, scene.chance.choice(there).dedup_key)

    config = parse_config(
        yaml.safe_dump({**world.document, "webhooks": _receiver_of(scene.setting.providers)}), {}, lambda path: ""
    )
    producers = feedback_producers(KafkaClients(config.kafka))
    log = structlog.wrap_logger(structlog.PrintLogger(file=StringIO()))
    async with taking_webhooks(config, producers, CollectorRegistry(), log) as port:
        url, sent = f"http://127.0.0.1:{port}/v1/webhooks", len(sandbox.webhooks.sent)
        subscriptions = [
            SandboxSubscription(provider="pagerduty", url=f"{url}/pagerduty", secret=WEBHOOK_SECRET),
            SandboxSubscription(provider="opsgenie", url=f"{url}/opsgenie", token=WEBHOOK_SECRET),
        ]
        for one in subscriptions:
            sandbox.webhooks.subscribe(one)
        sandbox.webhooks.mischief = MISCHIEF
        try:
            async with beside(scene, "nobody could do anything at the provider", act, over):
                yield
            sandbox.webhooks.mischief = Mischief()
            await wait_until(
                lambda: not sandbox.webhooks.waiting, "all webhooks are heard", timeout=2 * MISCHIEF.late, poll=0.5
            )
        finally:
            for one in subscriptions:
                sandbox.webhooks.unsubscribe(one)
        told = sandbox.webhooks.sent[sent:]
        scene.happened.unheard |= {
            (one.provider, one.dedup_key) for one in told if one.is_lost and one.what == "resolved"
        }
        if not any(one.is_lost for one in told) or not any(len(one.answers) > 1 for one in told):
            scene.members.trouble.append("no webhook was lost, or none was doubled")


def _receiver_of(providers: Collection[str]) -> Mapping[str, Any]:
    known = {"pagerduty": {"secrets": [WEBHOOK_SECRET]}, "opsgenie": {"token": WEBHOOK_SECRET}}
    return {"enabled": True, "host": "127.0.0.1", "port": 0, **{name: known[name] for name in providers}}


async def _all_ready(scene: Scene, within: float = 0.0) -> bool:
    """Whether all members say that they are ready; if so, they are asked again for so many seconds."""
    end = time.monotonic() + within
    while all(status == 200 for status, _ in [await member.health() for member in scene.members.running]):
        if time.monotonic() >= end:
            return True
        await asyncio.sleep(0.5)
    return False


_KINDS = (
    Lasting("a clock up to a year off", wrong_clock),
    Lasting("one in 20 refused: 503", refused(503, 1), until_judged=True),
    Lasting("one in 20 refused: 403", refused(403, 4), until_judged=True),
    Lasting("one in 20 refused: 400", refused(400, 7), until_judged=True),
    Lasting("one in 20 refused: no answer", refused(None, 10), until_judged=True),
    Lasting("a route's key revoked", revoked("pagerduty", SHARED_KEY)),
    Lasting("OpsGenie's key malformed", revoked("opsgenie", API_KEY, malformed=True)),
    Lasting("a transaction stays open", open_transaction, seconds=110.0),
    Lasting("transactions back to back", transactions_back_to_back, seconds=75.0),
    Lasting("a partition added", partition_added, seconds=100.0),
    Lasting("certificates replaced", certificates_change),
    Lasting(WEBHOOKS, webhooks),
    Lasting(SILENCES, silences, seconds=45.0),
)

LASTING: Mapping[str, Lasting] = {kind.name: kind for kind in _KINDS}
"""In the order in which they have to begin: one waits until a member is ready, which under another it cannot be."""

BAD_HOURS: Mapping[str, Sequence[str]] = {
    "refused for ever, a wrong clock": (
        *("one in 20 refused: 503", "one in 20 refused: 403", "one in 20 refused: 400"),
        *("one in 20 refused: no answer", "a clock up to a year off"),
    ),
    "keys revoked, certificates replaced": (
        *("a route's key revoked", "OpsGenie's key malformed", "certificates replaced"),
    ),
    "an open transaction, a partition added": ("a transaction stays open", "a partition added"),
    "people act at the provider": (WEBHOOKS,),
    "alerts are silenced": (SILENCES,),
    "transactions back to back, refused 503": ("transactions back to back", "one in 20 refused: 503"),
}
"""Which are there together, without any other fault, so that each is there once and pages are judged strictly."""


def in_order(names: Collection[str]) -> list[Lasting]:
    """These kinds in the order in which they have to begin."""
    return [kind for name, kind in LASTING.items() if name in names]
