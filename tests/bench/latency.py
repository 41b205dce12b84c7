"""From the moment an event is produced to the moment its alert is received by the provider."""

import asyncio
import time
from statistics import median, quantiles

from aiokafka import AIOKafkaProducer

from tests.bench import bare, load, service
from tests.bench.child import Side, measure
from tests.bench.report import Row
from tests.bench.setting import SandboxProcess, Setting, document, sandbox
from tests.support.kafka import create_topic, running
from tests.support.waiting import wait_until

PER_SECOND = 200
WARM_UP = 200
"""Alerts that come first and are not counted: connections are opened, code is touched for the first time."""


async def latency(setting: Setting) -> list[Row]:
    """200 distinct alerts a second."""
    count = WARM_UP + (100 if setting.quick else 1_500)
    references, ours = [], []
    for _ in range(setting.rounds):
        references.append(quantiles(await _seconds(setting, bare.forward, count), n=100))
        ours.append(quantiles(await _seconds(setting, service.deliver_all, count, profile=setting.profile), n=100))
    return [
        Row(
            f"latency: {name}, at {PER_SECOND} alerts/s",
            median(percentiles[at] for percentiles in ours) * 1e3,
            "ms",
            median(percentiles[at] for percentiles in references) * 1e3,
            at_most=aim,
        )
        for name, at, aim in (("p50", 49, 5), ("p99", 98, 25))
    ]


async def _seconds(setting: Setting, side: Side, count: int, *, profile: bool = False) -> list[float]:
    """Of every alert, seconds by the wall clock, which both ends share."""
    topic = await create_topic(setting.servers)
    async with sandbox() as provider:
        configuration = await document(setting, topic, endpoint=provider.url)
        measured = asyncio.create_task(measure(side, profile=profile, document=configuration, count=count))
        try:
            produced = await _produce(setting.servers, topic, provider, count)
            await measured
        finally:
            measured.cancel()
        opened = await provider.opened()
    assert opened.keys() == produced.keys(), f"{len(opened)} of {len(produced)} received"
    return [opened[key] - produced[key] for key in list(produced)[WARM_UP:]]


async def _produce(servers: str, topic: str, provider: SandboxProcess, count: int) -> dict[str, float]:
    """Produce so many distinct alerts, evenly, once the first has come through; returns when each was produced."""
    produced: dict[str, float] = {}

    async def told() -> bool:
        return (await provider.counts())[1] > 0

    async with running(AIOKafkaProducer(bootstrap_servers=servers, acks="all")) as producer:
        sent: list[asyncio.Future[object]] = []
        begun = time.monotonic()
        for number in range(count):
            key, value = load.denial(number)
            produced[load.dedup_key(number)] = time.time()
            sent.append(await producer.send(topic, value, key=key, partition=0))
            if number == 0:
                await wait_until(told, "the first alert is told", timeout=60)
                begun = time.monotonic()
            await asyncio.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
        await asyncio.gather(*sent)
    return produced
