"""The way in beside a handler of a few lines that promises nothing: what a post costs, and how long an answer takes."""

import asyncio
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from consumer.demo.broker import free_port
from consumer.kafka.clients import BATCH_BYTES, KafkaClients
from consumer.receivers.ingest.service import ingesting, kafka_producers
from consumer.telemetry.garbage import search_young_only
from tests.bench import load
from tests.bench.child import Meter, Result, Side, measure, resident_bytes
from tests.bench.report import Row
from tests.bench.service import configuration
from tests.bench.setting import Setting, document
from tests.support.ingest import TOKEN
from tests.support.kafka import create_topic, running

SENDERS = 32
BATCH = 100
PER_SECOND = 500
IDLE = 1_000
PARTITIONS = 6


async def ingest(setting: Setting) -> list[Row]:
    """One event a post by 32 senders, a hundred a post, 500 posts a second, and connections that say nothing."""
    single, batches = (500, 20) if setting.quick else (10_000, 500)
    ours = [await _costs(setting, take, single, batches, profile=setting.profile) for _ in range(setting.rounds)]
    bare = [await _costs(setting, take_barely, single, batches) for _ in range(setting.rounds)]

    def middle(results: Sequence[Result], name: str) -> float:
        return median(result.values[name] for result in results)

    def row(name: str, value: str, unit: str, times: float = 1.0, **aims: Any) -> Row:
        return Row(f"ingest: {name}", middle(ours, value) * times, unit, middle(bare, value) * times, **aims)

    return [
        row("CPU a post of one event", "single_cpu", "µs", 1e6, of_ratio=True, at_most=1.5),
        Row(
            "ingest: posts of one event, by one core", 1 / middle(ours, "single_cpu"), "/s",
            1 / middle(bare, "single_cpu"),
        ),
        row("posts of one event, as it ran here", "single_rate", "/s"),
        Row(
            f"ingest: events in posts of {BATCH}, by one core", 1 / middle(ours, "batch_cpu"), "/s",
            1 / middle(bare, "batch_cpu"), at_least=5_000,
        ),
        row(f"p50 at {PER_SECOND} posts/s", "p50", "ms", 1e3),
        row(f"p99 at {PER_SECOND} posts/s", "p99", "ms", 1e3, at_most=20),
        row(f"memory of {IDLE:,} silent connections", "idle_bytes", "MiB", 1 / (1 << 20)),
    ]  # fmt: skip


async def _costs(setting: Setting, side: Side, single: int, batches: int, *, profile: bool = False) -> Result:
    topic, port = await create_topic(setting.servers, partitions=PARTITIONS), free_port()
    configuration = await document(setting, topic)
    whole = {**configuration, "ingest": {"port": port, "tokens": [TOKEN], "max_connections": IDLE + SENDERS + 10}}
    running = asyncio.create_task(measure(side, profile=profile, document=whole, port=port))
    try:
        values = await _load(port, single, batches)
        await _ask(port, "/end")
        result = await running
    finally:
        running.cancel()
    result.values |= values
    return result


# the load


class _Sender:
    """A connection that posts what it is given as it is: nothing that costs much on this side."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "_Sender":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, body: bytes, path: str = "/v1/events") -> bytes:
        self._writer.write(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), TOKEN.encode(), len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200 "), (head, answer)
        return answer


async def _ask(port: int, path: str) -> dict[str, float]:
    async with _Sender(port) as sender:
        found: dict[str, float] = orjson.loads(await sender.post(b"{}", path))
        return found


async def _load(port: int, single: int, batches: int) -> dict[str, float]:
    async with asyncio.timeout(60):
        while True:
            try:
                await _ask(port, "/mark")
                break
            except (OSError, asyncio.IncompleteReadError, AssertionError):
                await asyncio.sleep(0.1)
    before = (await _ask(port, "/mark"))["resident"]
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(IDLE)]
    await asyncio.sleep(0.5)
    idle = (await _ask(port, "/mark"))["resident"] - before
    for _, writer in silent:
        writer.close()
    values = [value for _, value in load.mixed(3 * single + BATCH * batches)]
    events = iter([_distinct(value, number) for number, value in enumerate(values)])
    await _all_at_once(port, [next(events) for _ in range(single)])  # code is touched for the first time
    first = await _ask(port, "/mark")
    took = await _all_at_once(port, [next(events) for _ in range(single)])
    second = await _ask(port, "/mark")
    bodies = [b"[" + b",".join(next(events) for _ in range(BATCH)) + b"]" for _ in range(batches)]
    await _all_at_once(port, bodies, senders=4)
    third = await _ask(port, "/mark")
    seconds = await _evenly(port, [next(events) for _ in range(single)])
    percentiles = quantiles(seconds, n=100)
    return {
        "single_cpu": (second["cpu"] - first["cpu"]) / single,
        "single_rate": single / took,
        "batch_cpu": (third["cpu"] - second["cpu"]) / (batches * BATCH),
        "p50": percentiles[49],
        "p99": percentiles[98],
        "idle_bytes": max(1.0, idle),
    }


def _distinct(value: bytes, number: int) -> bytes:
    return orjson.dumps({**orjson.loads(value), "event_id": f"e-{number}"})


async def _all_at_once(port: int, bodies: Sequence[bytes], senders: int = SENDERS) -> float:
    """Post all of them, each sender one after another; the seconds that it took."""
    waiting = iter(bodies)

    async def work() -> None:
        async with _Sender(port) as sender:
            for body in waiting:
                await sender.post(body)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(senders):
            group.create_task(work())
    return time.perf_counter() - began


async def _evenly(port: int, bodies: Sequence[bytes]) -> list[float]:
    """Post so many a second; of each, from when it was due the seconds to its answer."""
    took: list[float] = []
    waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def work() -> None:
        async with _Sender(port) as sender:
            while (one := await waiting.get()) is not None:
                due, body = one
                await sender.post(body)
                took.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(work())
        began = time.perf_counter()
        for number, body in enumerate(bodies):
            due = began + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            waiting.put_nowait((due, body))
        for _ in range(SENDERS):
            waiting.put_nowait(None)
    return took


# the sides


def _marks(meter: Meter, ended: asyncio.Event) -> Sequence[web.RouteDef]:
    async def mark(_: web.Request) -> web.Response:
        return web.json_response({"cpu": time.process_time(), "resident": resident_bytes()})

    async def end(_: web.Request) -> web.Response:
        ended.set()
        return web.json_response({})

    return [web.post("/mark", mark), web.post("/end", end)]


async def take(meter: Meter, *, document: dict[str, Any], port: int) -> None:
    """The way in, as `clawdstrike-alerting ingest` has it."""
    import consumer.receivers.ingest.service

    ended = asyncio.Event()
    service: Any = consumer.receivers.ingest.service  # what it makes its application with is another one here
    create = service.create_app

    def create_with_marks(*arguments: Any) -> web.Application:
        app: web.Application = create(*arguments)
        app.add_routes(_marks(meter, ended))
        return app

    service.create_app = create_with_marks
    search_young_only()
    config = configuration(document)
    make = kafka_producers(config, KafkaClients(config.kafka))
    log = structlog.wrap_logger(structlog.PrintLogger(open("/dev/null", "w")))  # noqa: SIM115, ASYNC230
    meter.start()
    async with ingesting(config, make, CollectorRegistry(), log):
        await ended.wait()
    meter.stop()


async def take_barely(meter: Meter, *, document: dict[str, Any], port: int) -> None:
    """Parse, send each event under its session, wait for Kafka, answer."""
    ended = asyncio.Event()
    config = configuration(document)
    producer = KafkaClients(config.kafka).producer(batch_bytes=BATCH_BYTES)
    topic = config.kafka.topics.events

    async def post(request: web.Request) -> web.Response:
        found = orjson.loads(await request.read())
        events = found if isinstance(found, list) else [found]
        sent = [
            await producer.send(topic, orjson.dumps(event), key=event["session"]["id"].encode()) for event in events
        ]
        await asyncio.gather(*sent)
        return web.json_response({"written": len(sent)})

    app = web.Application()
    app.add_routes([web.post("/v1/events", post), *_marks(meter, ended)])
    search_young_only()
    async with running(producer):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        meter.start()
        await ended.wait()
        meter.stop()
        await runner.cleanup()
