"""The way in with a producer of the test's own: what is posted over loopback, and what Kafka would have been given."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import aiohttp
import orjson
import yaml
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from consumer.config import Config, parse_config, secrets_of
from consumer.receivers.ingest.handler import PostHandler
from consumer.receivers.ingest.service import ingesting
from consumer.receivers.posts.producer import Headers
from consumer.receivers.posts.receiver import ended_with
from consumer.telemetry.log import configure_log
from tests.support.log import StreamLines, log_as_before

TOKEN = "t0ken-of-the-daemon-0123456789"


@dataclass(frozen=True)
class Sent:
    """A record that a producer was given."""

    topic: str
    value: bytes
    key: bytes | None
    headers: Headers


@dataclass
class FakeKafka:
    """What takes the records. ``is_away``: it acknowledges nothing until it is back. ``error``: it fails so. ``fault``:
    no producer can be made."""

    records: list[Sent] = field(default_factory=list)
    is_away: bool = False
    error: KafkaError | None = None
    producers: list["FakeProducer"] = field(default_factory=list)
    dead_letter_limit: int | None = None
    fault: Exception | None = None

    async def make(self, handler: PostHandler) -> "FakeProducer":
        if self.fault is not None:
            raise self.fault
        handler.dead_letter_limit = self.dead_letter_limit
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def come_back(self) -> None:
        """Take everything that waits, in its order."""
        self.is_away = False
        for producer in self.producers:
            producer.flush()

    def values(self, topic: str = "clawdstrike.events") -> list[bytes]:
        """What one topic has."""
        return [record.value for record in self.records if record.topic == topic]


class FakeProducer:
    """A producer that takes what it is given at once, or when Kafka is back."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._waiting: list[tuple[Sent, asyncio.Future[None]]] = []
        self.closed = False

    async def start(self) -> None:
        if self._kafka.error is not None:
            raise self._kafka.error

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[None]":
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._kafka.error is not None:
            sent.set_exception(self._kafka.error)
            return sent
        self._waiting.append((Sent(topic, value, key, headers), sent))
        if not self._kafka.is_away:
            self.flush()
        return sent

    def flush(self) -> None:
        for record, sent in self._waiting:
            self._kafka.records.append(record)
            sent.set_result(None)
        self._waiting.clear()

    async def close(self, seconds: float) -> None:
        self.closed = True


@dataclass(frozen=True)
class Ingest:
    """A way in that runs: where, and what it has logged."""

    port: int
    http: aiohttp.ClientSession
    kafka: FakeKafka
    registry: CollectorRegistry
    written: StringIO
    scheme: str = "http"

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/v1/events"

    async def post(
        self,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = TOKEN,
        path: str = "/v1/events",
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Post a body (what is not bytes, or a stream of them, as JSON); the status, the line, the headers."""
        given = dict(headers or {})
        if token is not None:
            given.setdefault("Authorization", f"Bearer {token}")
        data = orjson.dumps(body) if isinstance(body, dict | list) else body
        url = f"{self.base}{path}"
        async with self.http.post(url, data=data, headers=given) as response:
            text = await response.read()
            assert text.count(b"\n") == 1, text
            assert text.endswith(b"\n")
            assert response.content_type == "application/json"
            return response.status, orjson.loads(text), response.headers

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        return [line for line in map(orjson.loads, self.written.getvalue().splitlines()) if line["event"] == event]

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series."""
        return self.registry.get_sample_value(f"clawdstrike_alerting_ingest_{name}", labels) or 0.0


def ingest_config(document: Mapping[str, Any] | None = None, **ingest: Any) -> Config:
    """A configuration with a way in on a free port."""
    whole = {**(document or {}), "ingest": {"port": 0, "tokens": [TOKEN], **ingest}}
    return parse_config(yaml.safe_dump(whole), {}, lambda path: "")


@contextlib.asynccontextmanager
async def running_ingest(
    kafka: FakeKafka | None = None,
    document: Mapping[str, Any] | None = None,
    *,
    stopping: asyncio.Event | None = None,
    trust: ssl.SSLContext | None = None,
    **ingest: Any,
) -> AsyncIterator[Ingest]:
    """The way in for the length of the block, or until ``stopping`` is set; its log has no token and no traceback.
    ``trust`` is for one that speaks TLS."""
    kafka, written, registry = kafka or FakeKafka(), StringIO(), CollectorRegistry()
    config = ingest_config(document, **ingest)
    with log_as_before():
        log = configure_log("debug", "json", secrets_of(config), StreamLines(written))
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(30),
                connector=aiohttp.TCPConnector(limit=0, ssl=trust or True),
                auto_decompress=True,
            ) as http,
            contextlib.AsyncExitStack() as until,
        ):
            port = await until.enter_async_context(ingesting(config, kafka.make, registry, log))
            if stopping is not None:
                ending = asyncio.create_task(ended_with(stopping, until))
            running = Ingest(port, http, kafka, registry, written, "http" if trust is None else "https")
            async with asyncio.timeout(5):
                while True:
                    async with http.get(f"{running.base}/readyz") as response:
                        if response.status == 200 or kafka.error is not None:
                            break
                    await asyncio.sleep(0.01)
            yield running
            if stopping is not None:
                await ending
    assert TOKEN not in written.getvalue()
    assert "Traceback" not in written.getvalue(), written.getvalue()
