"""The way back with a producer of the test's own: what is sent over loopback, and what Kafka would have been given."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import aiohttp
import orjson
from prometheus_client import CollectorRegistry

from consumer.config import parse_config, secrets_of
from consumer.feedback.records import Feedback, decode_feedback
from consumer.receivers.webhooks.handler import ANSWER_SECONDS
from consumer.receivers.webhooks.service import taking_webhooks
from consumer.telemetry.log import configure_log
from providers.pagerduty.webhook import SIGNATURE, WEBHOOK_ID, sign
from providers.webhook import DedupKeys
from tests.support.ingest import FakeKafka, FakeProducer
from tests.support.log import StreamLines, log_as_before

SECRET, OTHER_SECRET = "whsec-one-0123456789", "whsec-two-0123456789"
TOKEN = "t0ken-of-opsgenie-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FEEDBACK = "clawdstrike.alerting.feedback"


def pagerduty(
    event_type: str = "incident.acknowledged",
    *,
    key: str | None = "forbidden_path:s1",
    at: str = "2027-01-15T08:00:10.250Z",
    id: str = "PT4KHLK",
    agent: Mapping[str, Any] | None = None,
    **data: Any,
) -> dict[str, Any]:
    """A webhook of PagerDuty's, in the documented form."""
    incident = {
        "id": id, "type": "incident", "number": 1234, "incident_key": key, "created_at": "2027-01-15T08:00:00Z",
        "assignees": [], "priority": None,
    }  # fmt: skip
    return {
        "event": {
            "id": "5ac64822-4adc-4fda-ade0-410becf0de4f",
            "event_type": event_type,
            "resource_type": "incident",
            "occurred_at": at,
            "agent": {"id": "P1", "type": "user_reference", "summary": "Ann"} if agent is None else agent,
            "client": None,
            "data": {**incident, **data},
        }
    }


def opsgenie(action: str = "Acknowledge", *, key: str | None = "clawdstrike-g-s1", **alert: Any) -> dict[str, Any]:
    """A webhook of OpsGenie's, in the documented form."""
    known = {"alertId": "a-1", "alias": key, "createdAt": 1_800_000_000_000, "updatedAt": 1_800_000_010_250_000_000}
    return {
        "action": action,
        "alert": {**known, "username": "ann@example.com", "message": "m", "tags": [], **alert},
        "source": {"name": "web", "type": "web"},
        "integrationId": "i",
        "integrationName": "n",
    }


@dataclass(frozen=True)
class Webhooks:
    """A way back that runs: where, and what it has logged."""

    port: int
    http: aiohttp.ClientSession
    kafka: FakeKafka
    registry: CollectorRegistry
    written: StringIO
    scheme: str = "http"

    async def post(
        self, provider: str, body: Any, headers: Mapping[str, str] | None = None, *, query: str = ""
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Post, and give the status, the answer and its headers."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        url = f"{self.scheme}://127.0.0.1:{self.port}/v1/webhooks/{provider}{query}"
        async with self.http.post(url, data=data, headers=headers) as response:
            return response.status, orjson.loads(await response.read()), dict(response.headers)

    async def pagerduty(self, body: Any = None, *, secret: str = SECRET, id: str = "w-1") -> tuple[int, dict[str, Any]]:
        """Post what PagerDuty would, signed."""
        data = body if isinstance(body, bytes) else orjson.dumps(pagerduty() if body is None else body)
        status, said, _ = await self.post("pagerduty", data, {SIGNATURE: sign(data, secret), WEBHOOK_ID: id})
        return status, said

    @property
    def feedback(self) -> list[Feedback]:
        """What Kafka was given, decoded."""
        assert {record.topic for record in self.kafka.records} <= {FEEDBACK}
        return [decode_feedback(one.key, one.value, one.headers, 1) for one in self.kafka.records]

    def count(self, provider: str, outcome: str) -> float:
        """How many webhooks have come to that."""
        labels = {"provider": provider, "outcome": outcome}
        return self.registry.get_sample_value("clawdstrike_alerting_webhooks_total", labels) or 0.0

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines with this name."""
        lines = [orjson.loads(line) for line in self.written.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


@asynccontextmanager
async def running_webhooks(
    kafka: FakeKafka | None = None,
    *,
    dedup_keys: DedupKeys | None = None,
    pagerduty: Mapping[str, Any] | None = None,
    answer_within: float = ANSWER_SECONDS,
    tls: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Webhooks]:
    """A way back on loopback; ``pagerduty`` is its section (two secrets). ``trust`` is for one with ``tls``."""
    kafka = kafka or FakeKafka()
    section = {"secrets": [SECRET, OTHER_SECRET]} if pagerduty is None else dict(pagerduty)
    document = {
        "webhooks": {
            "enabled": True, "host": "127.0.0.1", "port": 0, "pagerduty": section,
            "opsgenie": {"token": TOKEN}, "jsm": {"token": TOKEN}, "tls": tls,
        },
        "delivery": {"shutdown_grace": "1s"},
    }  # fmt: skip
    config = parse_config(orjson.dumps(document).decode(), {}, lambda path: "")
    written, registry, of_kafka = StringIO(), CollectorRegistry(), kafka
    looked_up = {} if dedup_keys is None else {"pagerduty": dedup_keys}

    async def make() -> FakeProducer:
        of_kafka.producers.append(FakeProducer(of_kafka))
        return of_kafka.producers[-1]

    with log_as_before():
        log = configure_log("debug", "json", secrets_of(config), StreamLines(written))
        async with (
            taking_webhooks(config, make, registry, log, looked_up, answer_within=answer_within) as port,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust or True)) as http,
        ):
            running = Webhooks(port, http, kafka, registry, written, "http" if trust is None else "https")
            async with asyncio.timeout(5):
                while True:
                    status, _, _ = await running.post("opsgenie", b"{}", BEARER)
                    if status == 200 or kafka.error is not None:
                        break
                    await asyncio.sleep(0.01)
            yield running
    for secret in (SECRET, OTHER_SECRET, TOKEN):
        assert secret not in written.getvalue()
    assert "Traceback" not in written.getvalue(), written.getvalue()
