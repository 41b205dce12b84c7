"""Very many alerts: whether the event loop turns all the time while they come back, end and are released."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from consumer.kafka.clients import KafkaClients
from consumer.telemetry.server import create_app, serving
from tests.bench import bare
from tests.bench.child import Meter, Result, measure, resident_bytes
from tests.bench.report import Row
from tests.bench.service import Service, configuration, running_service
from tests.bench.setting import Setting, document, sandbox
from tests.bench.state import open_alerts, owed_alerts, write_alerts, write_open_alerts
from tests.bench.steps import LONG_SECONDS, Step, Steps, measured_steps
from tests.support.events import encode, session_end
from tests.support.kafka import create_topic, running
from tests.support.process import merged
from tests.support.waiting import wait_until

RATE = 50.0
"""Requests a second that the route may send: far less than it could."""

SCRAPE_SECONDS = 0.05
"""In which ``/metrics`` answers, whatever the number of alerts."""

QUIET_MINUTES = 0.1
WATCHED_SECONDS = 20.0
"""For which resolves are counted, once all alerts are over."""

_MS = 1000.0


async def size(setting: Setting) -> list[Row]:
    """A million alerts of one partition that end at once, many of one session, and many owed in many partitions."""
    counts = (2_000,) if setting.quick else (100_000, 1_000_000)
    rows = []
    for count in counts:
        rows += await _all_end(setting, count)
    rows += await _session(setting, 1_000 if setting.quick else 40_000)
    partitions, owed, routes = (4, 50, 5) if setting.quick else (96, 5_000, 500)
    return rows + await _released(setting, partitions, owed, routes)


async def _all_end(setting: Setting, count: int) -> list[Row]:
    topic = await create_topic(setting.servers)
    async with sandbox() as provider:
        state = _limited(await document(setting, topic, endpoint=provider.url))
        state = _pagerduty(state, auto_resolve={"after_minutes": QUIET_MINUTES})
        await write_open_alerts(state, count)
        reference = await measure(bare.read, document=state, count=count)
        seconds = 3.0 if setting.quick else WATCHED_SECONDS
        ours = await measure(all_end, profile=setting.profile, document=state, count=count, seconds=seconds)
    _tell(ours)
    name, values = f"{count:,}", ours.values
    return [
        Row(f"size: restore {name}", values["restore seconds"], "s", reference.wall),
        Row(f"size: memory of one of {name}", values["resident"] / count, "bytes"),
        *_steps(f"restore {name}", ours, "restore"),
        Row(f"size: {name} are over", values["over seconds"], "s"),
        *_steps(f"{name} end at once", ours, "over"),
        *_steps(f"{name} are resolved", ours, "resolve"),
        Row(f"size: resolves of {name} leave", values["resolved"], "/s", RATE, at_least=0.9, of_ratio=True),
        Row(f"size: /metrics with {name}", values["scrape"] * _MS, "ms", at_most=SCRAPE_SECONDS * _MS),
        *_steps(f"{name} are given back", ours, "close"),
        *_proofs(name, ours),
    ]


async def _session(setting: Setting, count: int) -> list[Row]:
    topic = await create_topic(setting.servers)
    async with sandbox() as provider:
        state = _limited(await document(setting, topic, endpoint=provider.url))
        await write_alerts(state, open_alerts(count, session="the session"))
        ours = await measure(session_ends, profile=setting.profile, document=state, count=count)
    _tell(ours)
    name = f"{count:,} of one session"
    return [
        Row(f"size: {name} are over", ours.values["over seconds"], "s"),
        *_steps(f"{name} end", ours, "over"),
        *_proofs(name, ours),
    ]


async def _released(setting: Setting, partitions: int, owed: int, routes: int) -> list[Row]:
    topic = await create_topic(setting.servers, partitions=partitions)
    state = await document(setting, topic, partitions=partitions, max_owed=partitions * owed)
    guards = [f"guard_{number}" for number in range(routes)]
    keys = {guard: f"{number:032d}" for number, guard in enumerate(guards[1:])}
    state = _pagerduty(state, routing={"by_guard": keys})
    for partition in range(partitions):
        numbers = range(partition * owed, (partition + 1) * owed)
        await write_alerts(state, owed_alerts(topic, numbers, guards), partition=partition)
    ours = await measure(released, profile=setting.profile, document=state, partitions=partitions, owed=owed)
    _tell(ours)
    name = f"{partitions} partitions with {owed:,} owed"
    return [
        Row(f"size: restore {name}", ours.values["restore seconds"], "s"),
        *_steps(f"restore {name}", ours, "restore"),
        *_steps(f"{name} wait for their provider", ours, "wait"),
        Row(f"size: release {name}", ours.values["release seconds"], "s"),
        *_steps(f"release {name}", ours, "release"),
        Row(f"size: /metrics with {name}", ours.values["scrape"] * _MS, "ms", at_most=SCRAPE_SECONDS * _MS),
        *_proofs(name, ours),
    ]


# what runs in a process of its own


async def all_end(meter: Meter, *, document: dict[str, Any], count: int, seconds: float) -> None:
    """Restore so many alerts, let all of them become quiet, and count the resolves that leave in so many seconds."""
    values = meter.result.values
    with measured_steps() as steps:
        before = resident_bytes()
        meter.start()
        async with _watched(document, steps, meter.result, "close", quiescent_seconds=1.0) as service:
            await _restored(service, steps, meter.result)
            values["resident"] = resident_bytes() - before
            began = time.monotonic()
            await wait_until(
                lambda: service.events().get("quiet", 0) >= count, "all alerts are over", timeout=1200, poll=0.05
            )
            values["over seconds"] = time.monotonic() - began
            _note(meter.result, "over", steps)
            # Not in the first seconds after a restore: an earlier owner's requests may still land.
            await _resolved(service, min(count, int(RATE)))
            began, resolved = time.monotonic(), service.notifications("resolve")["accepted"]
            await asyncio.sleep(min(seconds, (count - resolved) / RATE))
            resolved = service.notifications("resolve")["accepted"] - resolved
            values["resolved"] = resolved / (time.monotonic() - began)
            _note(meter.result, "resolve", steps)
        meter.stop()


async def session_ends(meter: Meter, *, document: dict[str, Any], count: int) -> None:
    """Restore so many alerts of one session, then let it end."""
    config = configuration(document)
    with measured_steps() as steps:
        meter.start()
        async with _watched(document, steps, meter.result, "close") as service:
            await _restored(service, steps, meter.result)
            producer = AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap_servers, acks="all")
            async with running(producer):
                await producer.send_and_wait(config.kafka.topics.events, encode(session_end("the session")))
            began = time.monotonic()
            await wait_until(
                lambda: service.events().get("ended", 0) >= count, "the session's alerts are over", timeout=120
            )
            meter.result.values["over seconds"] = time.monotonic() - began
            await _resolved(service, min(count, int(RATE)))
            _note(meter.result, "over", steps)
        meter.stop()


async def released(meter: Meter, *, document: dict[str, Any], partitions: int, owed: int) -> None:
    """Restore so many partitions, of a provider that does not answer, then share them with another member."""
    config = configuration(document)
    values = meter.result.values
    with measured_steps() as steps:
        meter.start()
        async with _watched(document, steps, meter.result, "close") as service:
            await _restored(service, steps, meter.result, partitions)
            await asyncio.sleep(5.0)
            _note(meter.result, "wait", steps)
            other = KafkaClients(config.kafka).member(config.kafka.group("pagerduty"))
            other.subscribe([config.kafka.topics.events])
            began = time.monotonic()
            async with running(other):
                await service.restored(partitions // 2, timeout=120)
                values["release seconds"] = time.monotonic() - began
                _note(meter.result, "release", steps)
        meter.stop()
    assert values["restored"] == partitions * owed, values["restored"]


async def _resolved(service: Service, count: int) -> None:
    await wait_until(
        lambda: service.notifications("resolve").get("accepted", 0) >= count, f"{count} resolves leave", timeout=120
    )


async def _restored(service: Service, steps: Steps, result: Result, partitions: int = 1) -> None:
    began = time.monotonic()
    await service.restored(partitions, timeout=300)
    result.values["restore seconds"] = time.monotonic() - began
    result.values["restored"] = _alerts(service)
    _note(result, "restore", steps)


def _alerts(service: Service) -> float:
    name = "clawdstrike_alerting_alerts"
    return sum(
        sample.value for metric in service.registry.collect() for sample in metric.samples if sample.name == name
    )


@contextlib.asynccontextmanager
async def _watched(
    document: dict[str, Any], steps: Steps, result: Result, closing: str, **options: Any
) -> AsyncIterator[Service]:
    """The service, of which ``/metrics`` is asked once a second, for the length of the block."""
    async with running_service(document, **options) as service:
        app = create_app(lambda: [service.runner.health()], service.registry)
        async with serving(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
            scraping = asyncio.create_task(_scrape(session, f"http://127.0.0.1:{port}/metrics", result))
            try:
                yield service
            finally:
                scraping.cancel()
                await asyncio.wait((scraping,))
        proofs = service.proofs()
        result.values["missed"] = sum(count for answer, count in proofs.items() if answer != "accepted")
        steps.taken()
    _note(result, closing, steps)


async def _scrape(session: aiohttp.ClientSession, url: str, result: Result) -> None:
    result.values["scrape"] = 0.0
    while True:
        began = time.monotonic()
        async with session.get(url) as response:
            await response.read()
        result.values["scrape"] = max(result.values["scrape"], time.monotonic() - began)
        await asyncio.sleep(1.0)


def _note(result: Result, phase: str, steps: Steps) -> None:
    longest, long = steps.taken()
    result.values[f"{phase} step"] = longest.cpu
    result.told += [f"{phase}: {_text(step)}" for step in long[:5]]


def _text(step: Step) -> str:
    return f"{step.cpu * _MS:.0f} ms ({step.seconds * _MS:.0f} ms passed) in {step.what}: {step.where}"


# what is told of it


def _steps(name: str, result: Result, phase: str) -> Iterator[Row]:
    longest = result.values[f"{phase} step"]
    yield Row(f"size: longest step, {name}", longest * _MS, "ms", at_most=LONG_SECONDS * _MS)


def _proofs(name: str, result: Result) -> Iterator[Row]:
    if missed := result.values["missed"]:
        yield Row(f"size: proofs that were missed, {name}", missed, "", at_most=0)


def _tell(result: Result) -> None:
    for line in result.told:
        print(f"  too long: {line}", flush=True)


def _limited(state: dict[str, Any]) -> dict[str, Any]:
    return merged(state, delivery={"rate_limit": {"requests_per_second": RATE, "burst_size": int(RATE)}})


def _pagerduty(state: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return merged(state, exporters={"alerting": {"pagerduty": settings}})
