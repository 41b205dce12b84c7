"""No secret leaves (design section 5.7): none in logs, metrics, states, dead letters, whatever a provider answers."""

import html
import json
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from prometheus_client import generate_latest

from consumer.config import secrets_of
from providers.sandbox import Drop, Fault, FaultyAnswer, Hang, LoseAnswer, Sandbox
from providers.sandbox.faults import ArmedFault, Effect
from tests.support.broker import Broker
from tests.support.clocks import Moving
from tests.support.events import event, session_end
from tests.support.kafka import committed_records
from tests.support.seen import first_dead_letters, send
from tests.support.service import Member, World, make_world, running_member
from tests.support.waiting import wait_until

DEFAULT_KEY = "PDsecret/default+\"key\"&'0123456'"
TEAM_KEY = "PDsecret-team-key-89abcdef012345"
OPSGENIE_KEY = 'OGsecret/<api>&"key"\\%41-0123456789'
WEBHOOK_SECRET = "WHsecret-signing-0123456789"
WEBHOOK_TOKEN = "WHsecret-token-0123456789"
SECRETS = {DEFAULT_KEY, TEAM_KEY, OPSGENIE_KEY, WEBHOOK_SECRET, WEBHOOK_TOKEN}


async def secretive_world(broker: Broker, sandbox: Sandbox) -> World:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={"routing_key": DEFAULT_KEY, "routing": {"by_guard": {"secret_leak": TEAM_KEY}}},
        opsgenie={"api_key": OPSGENIE_KEY},
        delivery={"timeout_seconds": 2, "give_up_after": "1h"},
    )
    world.document["webhooks"] = {"pagerduty": {"secrets": [WEBHOOK_SECRET]}, "opsgenie": {"token": WEBHOOK_TOKEN}}
    return world


def spellings(secret: str) -> set[str]:
    """The ways in which a text may repeat it."""
    return {
        secret,
        secret.upper(),
        secret.lower(),
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        html.escape(secret),
        secret.encode().hex(),
    }


def echoes(secret: str) -> Iterator[str]:
    """Bodies of error answers that repeat the key as careless servers would."""
    yield f"Invalid request: {secret}"
    yield json.dumps({"message": f"key {secret} is wrong", "errors": [f"'{secret}'"]})
    yield json.dumps({"errors": {"apiKey": secret, secret: "unknown"}})
    yield f"<html><a href='/?key={quote(secret, safe='')}'>{html.escape(secret)}</a></html>"
    yield f"{'x' * 490}{secret}{'y' * 70_000}"


def effects(secret: str) -> Iterator[Effect]:
    """All that goes wrong once and is survived."""
    for status in (500, 503, 401, 302, 429, 200):
        for body in echoes(secret):
            yield FaultyAnswer(status=status, body=body, headers={"Retry-After": "0", "Location": f"/{quote(secret)}"})
    yield from (Drop(), LoseAnswer(), Hang())


def has_routes_to_tell_of(member: Member, provider: str) -> bool:
    return member.runners[provider].health().routes != ()


async def test_no_secret_is_in_logs_metrics_states_or_dead_letters(broker: Broker, sandbox: Sandbox) -> None:
    world = await secretive_world(broker, sandbox)
    assert secrets_of(world.config) == SECRETS
    output, metrics = "", b""
    keys = {"forbidden_path": DEFAULT_KEY, "secret_leak": TEAM_KEY}
    expected = 0

    # Survived: each alert meets one trouble, then is told.
    sessions = [f"s{number}" for number in range(len(list(effects(DEFAULT_KEY))))]
    for guard, key in keys.items():
        for session, effect in zip(sessions, effects(key), strict=True):
            sandbox.faults.add(Fault(effect, key=key, dedup_key=f"{guard}:{session}", times=1))
    for session, effect in zip(sessions, effects(OPSGENIE_KEY), strict=True):
        alias = f"clawdstrike-forbidden_path-{session}"
        sandbox.faults.add(Fault(effect, key=OPSGENIE_KEY, dedup_key=alias, times=1))
    # Rejected, also when the provider says it of a resolve: dead letters and logs.
    rejected: list[ArmedFault] = []
    for provider, key in (("pagerduty", DEFAULT_KEY), ("opsgenie", OPSGENIE_KEY)):
        for number, body in enumerate(echoes(key)):
            prefix = "forbidden_path:" if provider == "pagerduty" else "clawdstrike-forbidden_path-"
            fault = Fault(FaultyAnswer(status=422, body=body), dedup_key=f"{prefix}rejected-{number}")
            rejected.append(sandbox.faults.add(fault))
            expected += 1
        end = "resolve" if provider == "pagerduty" else "close"
        fault = Fault(FaultyAnswer(status=400, body=f"no {key}"), dedup_key=f"{prefix}s0", action=end)
        rejected.append(sandbox.faults.add(fault))
    moving = Moving()
    async with running_member(world.config, clock=moving.clock) as member:

        def is_told(provider: str) -> bool:
            return member.metric("owed", pipeline=provider, partition="0") == 0

        await send(world, *(event(guard=guard, session=session) for guard in keys for session in sessions))
        await send(world, *(event(session=f"rejected-{number}") for number in range(5)), {"not": "an event"})
        expected += 2  # poison, once for each pipeline
        await sandbox.wait_for(lambda: len({entry.key for entry in sandbox.requests(status=429)}) == 3, 15)
        for pause in range(1, 16):  # each key is answered 429 five times, and each of them may begin a pause of its own
            for provider in ("pagerduty", "opsgenie"):
                await moving.to(90.0 * pause, member, provider)
            if is_told("pagerduty") and is_told("opsgenie"):
                break
        for provider in ("pagerduty", "opsgenie"):
            await wait_until(partial(is_told, provider), f"{provider} has been told", timeout=60)
        await first_dead_letters(world, expected, timeout=30)
        await send(world, *(session_end(session) for session in sessions[:3]))
        await wait_until(
            lambda: member.output.getvalue().count("resolve_rejected") == 2, "resolves are rejected", timeout=30
        )
        metrics += generate_latest(member.registry)
    output += member.output.getvalue()
    for armed in rejected:
        armed.remove()
    assert sandbox.faults.armed() == []

    world.document["delivery"] |= {"give_up_after": "4s"}
    # Refused and given up: the provider names the key each time. What is owed is in the state meanwhile.
    for key in (DEFAULT_KEY, TEAM_KEY, OPSGENIE_KEY):
        sandbox.faults.add(Fault(FaultyAnswer(status=403, body=f"the key {key} may not do this"), key=key))
    async with running_member(world.config) as member:
        await send(world, event(session="last"), event(session="last", guard="secret_leak"))
        for provider in ("pagerduty", "opsgenie"):
            await wait_until(partial(has_routes_to_tell_of, member, provider), "the route is refused")
        metrics += generate_latest(member.registry)
    output += member.output.getvalue()
    async with running_member(world.config) as member:
        letters = await first_dead_letters(world, expected + 4)
        metrics += generate_latest(member.registry)
    output += member.output.getvalue()

    assert sum(letter.error_class == "given_up" for letter in letters) == 4
    assert "[secret]" in output
    assert sum("[secret]" in letter.error for letter in letters) >= 10
    records = await committed_records(broker.bootstrap_servers, world.dlq)
    for provider in ("pagerduty", "opsgenie"):
        records += await committed_records(broker.bootstrap_servers, world.state(provider))
    stored = [
        part.decode(errors="replace")
        for record in records
        for part in (
            record.key,
            record.value,
            *(text for header in record.headers for text in (header[0].encode(), header[1])),
        )
        if part is not None
    ]
    seen = {
        "the log": output,
        "metrics": metrics.decode(),
        "Kafka": "\n".join(stored),
        "health": repr([runner.health() for runner in member.runners.values()]) + repr(world.config),
    }
    assert len(output) > 10_000
    assert len(stored) > 500
    for place, text in seen.items():
        found = {secret for secret in SECRETS for spelling in spellings(secret) if spelling in text}
        assert not found, f"in {place}"
        # Nor a piece: every secret begins with letters that nothing else here has.
        for mark in ("PDsecret", "OGsecret", "WHsecret"):
            assert mark.lower() not in text.lower(), f"a piece of a secret is in {place}"
