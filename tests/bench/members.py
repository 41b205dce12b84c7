"""Two members against one: what the second adds, by a provider that takes 100 ms to answer."""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from statistics import median

from aiokafka import AIOKafkaProducer

from tests.bench import load
from tests.bench.report import Row
from tests.bench.setting import Setting, document, sandbox
from tests.support.kafka import create_topic, running
from tests.support.process import merged, service_process
from tests.support.waiting import wait_until

LATENCY_SECONDS = 0.1
MAX_IN_FLIGHT = 32
"""What a member can carry: 320 alerts a second, so that it is the members that are scaled, not this machine's cores."""
PARTITIONS = 8


async def members(setting: Setting) -> list[Row]:
    """Distinct alerts by one member, and by two that share the partitions."""
    count = 600 if setting.quick else 5_000
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(min(setting.rounds, 3)):
        for size, found in rates.items():
            found.append(await _rate(setting, size, count))
    alone, two = median(rates[1]), median(rates[2])
    return [Row("members: distinct alerts, two against one", two, "/s", alone, at_least=1.9, of_ratio=True)]


async def _rate(setting: Setting, size: int, count: int) -> float:
    """Alerts a second, from the first that the provider heard of to the last."""
    topic = await create_topic(setting.servers, partitions=PARTITIONS)
    async with sandbox(latency=LATENCY_SECONDS) as provider, contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        configuration = await document(
            setting, topic, partitions=PARTITIONS, endpoint=provider.url, max_in_flight=MAX_IN_FLIGHT, max_owed=count
        )
        configuration = merged(configuration, server={"port": 0})
        started = await asyncio.gather(
            *(
                stack.enter_async_context(service_process(configuration, folder, f"member-{number}"))
                for number in range(size)
            )
        )
        await asyncio.gather(*(member.restored(PARTITIONS // size) for member in started))
        async with running(AIOKafkaProducer(bootstrap_servers=setting.servers, linger_ms=5)) as producer:
            for number, (key, value) in enumerate(load.distinct(count)):
                await producer.send(topic, value, key, partition=number % PARTITIONS)

        async def all_told() -> bool:
            return (await provider.counts())[1] >= count

        await wait_until(all_told, "all alerts are told", timeout=120, poll=0.2)
        moments = (await provider.opened()).values()
        assert len(moments) == count
        return count / (max(moments) - min(moments))
