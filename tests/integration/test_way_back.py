"""The way back on a broker, with the sandbox as provider: whole cycles, for each provider, and what comes late."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consumer.kafka.clients import KafkaClients
from consumer.receivers.webhooks.service import feedback_producers, taking_webhooks
from consumer.telemetry.log import configure_log
from providers.sandbox import Incident, Sandbox, SandboxSubscription
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.log import StreamLines
from tests.support.seen import requests, send
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

SECRET, TOKEN = "whsec-0123456789", "t0ken-0123456789"
TIMEOUT = 0.5
"""``delivery.timeout_seconds``: for so long is it open whether a resolve came before or after a trigger."""

CLOUD = {"cloud_id": "11-aa", "email": "bot@example.com", "token": "an-api-token"}

CYCLES: Mapping[str, str] = {
    "pagerduty": "forbidden_path:sess-1",
    "opsgenie": "clawdstrike-forbidden_path-sess-1",
    "jsm": "clawdstrike-forbidden_path-sess-1",
}
"""The dedup key of the first problem at each provider; Jira Service Management with its cloud API."""


@asynccontextmanager
async def world_with_webhooks(
    broker: Broker, sandbox: Sandbox, provider: str
) -> AsyncIterator[tuple[World, Member, "Seen"]]:
    """A member, a receiver, and a sandbox that sends to it."""
    section: dict[str, Any] = {"cloud": {**CLOUD, "api_endpoint": sandbox.url}} if provider == "jsm" else {}
    known: dict[str, Any] = {"delivery": {"timeout_seconds": TIMEOUT}, provider: section}
    world = await make_world(broker.bootstrap_servers, sandbox.url, **known)
    access = {"secrets": [SECRET]} if provider == "pagerduty" else {"token": TOKEN}
    world.document["webhooks"] = {"enabled": True, "host": "127.0.0.1", "port": 0, provider: access}
    async with running_member(world.config) as member:
        log = configure_log("debug", "json", frozenset(), StreamLines(member.output))
        producers = feedback_producers(KafkaClients(world.config.kafka))
        async with taking_webhooks(world.config, producers, CollectorRegistry(), log) as port:
            url = f"http://127.0.0.1:{port}/v1/webhooks/{provider}"
            signing = {"secret": SECRET} if provider == "pagerduty" else {"token": TOKEN}
            sandbox.webhooks.subscribe(SandboxSubscription(provider=provider, url=url, **signing))  # type: ignore[arg-type]
            yield world, member, Seen(sandbox, member, provider, CYCLES[provider])


class Seen:
    """What is seen of one problem, here and at the provider."""

    def __init__(self, sandbox: Sandbox, member: Member, provider: str, dedup_key: str) -> None:
        self.sandbox = sandbox
        self._member = member
        self.provider = provider
        self.dedup_key = dedup_key

    @property
    def incidents(self) -> list[Incident]:
        return self.sandbox.incidents(self.provider, dedup_key=self.dedup_key)

    async def is_(self, status: str, count: int = 1) -> None:
        """Wait until so many alerts are this here, and owe nothing."""
        labels = {"pipeline": self.provider, "partition": "0"}
        await wait_until(
            lambda: (
                self._member.metric("alerts", **labels, status=status) == count
                and self._member.metric("owed", **labels) == 0
            ),
            f"{count} {status}",
        )

    async def suppressed(self, count: int) -> None:
        await wait_until(
            lambda: self._member.metric("events_total", pipeline=self.provider, outcome="suppressed") >= count,
            f"{count} suppressed",
        )

    async def heard(self, kind: str, result: str, count: int = 1) -> None:
        labels = {"pipeline": self.provider, "kind": kind, "result": result}
        await wait_until(lambda: self._member.metric("feedback_total", **labels) >= count, f"{kind} {result}")

    async def settled(self) -> None:
        """Wait until a resolve is surely later than the last trigger, by the provider's clock in whole seconds."""
        await asyncio.sleep(TIMEOUT + 1.1)


@pytest.mark.parametrize("provider", CYCLES)
async def test_a_whole_cycle(broker: Broker, sandbox: Sandbox, provider: str) -> None:
    async with world_with_webhooks(broker, sandbox, provider) as (world, _, seen):
        await send(world, event(severity="high"))
        await incidents(sandbox, 1, provider)
        await seen.is_("open")
        await send(world, event(severity="critical"))  # raised
        await sandbox.wait_for(lambda: len(seen.incidents[0].severities) == 2)
        await seen.is_("open")

        assert sandbox.acknowledge(provider, seen.dedup_key) == 1
        await seen.is_("acknowledged")
        told = len(sandbox.requests(provider))
        await send(world, event(severity="critical"), event(severity="high"))
        await seen.suppressed(2)
        assert len(sandbox.requests(provider)) == told

        await seen.settled()
        await send(world, event(session="other"))  # what comes is decided up to here
        await incidents(sandbox, 2, provider)
        assert sandbox.close(provider, seen.dedup_key) == 1
        await seen.heard("resolved", "applied")
        await seen.is_("acknowledged", 0)
        await seen.is_("open", 1)

        await send(world, event(severity="high"))
        await sandbox.wait_for(lambda: len(seen.incidents) == 2)
        assert [one.open for one in seen.incidents] == [False, True]
        assert [one.triggers for one in seen.incidents][1:] == [1]
        await seen.is_("open", 2)
        await wait_until(lambda: all(one.answers == [200] for one in sandbox.webhooks.sent), "each is answered, once")


@pytest.mark.parametrize("provider", CYCLES)
async def test_what_occurs_before_the_resolve_was_heard_of_pages_again(
    broker: Broker, sandbox: Sandbox, provider: str
) -> None:
    async with world_with_webhooks(broker, sandbox, provider) as (world, _, seen):
        await send(world, event())
        await incidents(sandbox, 1, provider)
        await seen.is_("open")
        await seen.settled()
        sandbox.webhooks.hold()
        sandbox.acknowledge(provider, seen.dedup_key)
        sandbox.close(provider, seen.dedup_key)
        await asyncio.sleep(1.1)  # the seconds of a Date are whole: what occurs within one counts as before
        await send(world, event())
        await seen.suppressed(1)
        sandbox.webhooks.release(reverse=True, times=2)
        await sandbox.wait_for(lambda: len(seen.incidents) == 2)
        await seen.heard("acknowledged", "ignored")
        await seen.is_("open")
        assert [one.open for one in seen.incidents] == [False, True]
        assert [one.triggers for one in seen.incidents] == [1, 1]


async def test_no_old_resolve_ends_a_live_problem(broker: Broker, sandbox: Sandbox) -> None:
    async with world_with_webhooks(broker, sandbox, "pagerduty") as (world, _, seen):
        await send(world, event(severity="high"))
        await incidents(sandbox, 1)
        await seen.is_("open")
        sandbox.webhooks.hold()
        sandbox.close("pagerduty", seen.dedup_key)
        await asyncio.sleep(2.1)  # more than the whole seconds of a Date leave open
        await send(world, event(severity="critical"))
        await incidents(sandbox, 2)
        await seen.is_("open")
        sandbox.webhooks.release(times=2)
        await seen.heard("resolved", "ignored")
        await seen.is_("open")
        await requests(sandbox, 2)
        assert [one.open for one in seen.incidents] == [False, True]
