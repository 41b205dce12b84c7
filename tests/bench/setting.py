"""What a figure runs in: the broker, the sandbox in a process of its own, the topics and configuration of one run."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.kafka import COMPACTED, create_topic, unique

ROUTING_KEY = "d" * 32


@dataclass(frozen=True, slots=True)
class Setting:
    """One run of the benchmarks."""

    servers: str
    quick: bool
    profile: bool

    @property
    def rounds(self) -> int:
        """How often each side is measured; the figure is the median."""
        return 1 if self.quick or self.profile else 5


async def document(
    setting: Setting, events: str, *, partitions: int = 1, endpoint: str = "http://127.0.0.1:9", **delivery: Any
) -> dict[str, Any]:
    """The configuration of a service with a new group that reads ``events`` from the beginning, and its topics.

    What is not given is as in production; only the rate limit is off.
    """
    name = unique("bench")
    own = ("state", "dlq", "feedback", "history")
    topics = {"events": events, **{topic: f"{name}.{topic}" for topic in own}}
    await create_topic(setting.servers, f"{topics['state']}.pagerduty", partitions=partitions, configs=COMPACTED)
    await create_topic(setting.servers, topics["dlq"], configs={"max.message.bytes": str(2 << 20)})
    await create_topic(setting.servers, topics["feedback"])
    await create_topic(setting.servers, topics["history"])
    delivery["rate_limit"] = {"requests_per_second": 0}
    return {
        "kafka": {
            "bootstrap_servers": setting.servers,
            "group_id": name,
            "start_from": "earliest",
            "topics": topics,
        },
        "exporters": {"alerting": {"pagerduty": {"routing_key": ROUTING_KEY, "api_endpoint": endpoint}}},
        "delivery": delivery,
    }


class SandboxProcess:
    """``python -m providers.sandbox --light`` of this run."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def opened(self) -> dict[str, float]:
        """By dedup key, when the trigger that opened its incident was received, by the wall clock."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/_sandbox/incidents") as response:
            incidents = (await response.json())["incidents"]
        return {incident["dedup_key"]: incident["opened_at"] for incident in incidents}

    async def counts(self) -> tuple[int, int]:
        """How many requests were received, and how many incidents were opened."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/_sandbox/counts") as response:
            counts = await response.json()
        return counts["requests"]["received"], counts["incidents"].get("pagerduty", {}).get("opened", 0)


@contextlib.asynccontextmanager
async def sandbox(*, latency: float = 0.0) -> AsyncIterator[SandboxProcess]:
    """A provider that answers after ``latency`` seconds, for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "providers.sandbox", "--light", "--latency", str(latency)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield SandboxProcess(json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
