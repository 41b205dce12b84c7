"""Records that are no events: each to the dead-letter topic, once for each pipeline, and the partition moves on."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from consumer.dlq.dead_letter import decode
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import committed_records, create_topic, running
from tests.support.seen import dead_letters, first_dead_letters, group_offset, producing
from tests.support.service import ROUTING_KEY, Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

LIMIT = 64 * 1024

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Bad:
    """A record that is poison, and what is to be said of it."""

    value: bytes
    error_class: str
    error: str
    key: bytes | None = b"sess-1"
    headers: Headers = (("trace", b"\xff\x00"), ("trace", None))
    event_id: str | None = None


def spoilt(change: Mapping[str, Any], *, remove: str | None = None, **fields: Any) -> bytes:
    """An event with some fields overwritten (a mapping goes one level deeper) or one taken out."""
    made = {**event(event_id="e-1"), **fields}
    for name, value in change.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) else value
    if remove is not None:
        inside, _, name = remove.rpartition(".")
        del (made[inside] if inside else made)[name]
    return encode(made)


POISON = {
    "empty": Bad(b"", "empty", "the value is empty"),
    "blank": Bad(b" \n", "empty", "the value is empty"),
    "not UTF-8": Bad(b'{"a": "\xff"}', "not_utf8", "not UTF-8: invalid start byte at byte 7"),
    "not JSON": Bad(b"<xml/>", "not_json", "not JSON: unexpected character"),
    "cut off": Bad(encode(event())[:-20], "not_json", "not JSON: "),
    "an array": Bad(b"[1]", "wrong_type", "Expected object, got array: an array"),
    "a text": Bad(b'"denied"', "wrong_type", "Expected object, got str: 'denied'"),
    "null": Bad(b"null", "wrong_type", "Expected object, got null: null"),
    "no decision": Bad(spoilt({}, remove="decision"), "missing_field", "decision: Field required", event_id="e-1"),
    "no guard": Bad(
        spoilt({}, remove="decision.guard"), "missing_field", "decision.guard: Field required", event_id="e-1"
    ),
    "no event type": Bad(
        spoilt({}, remove="event_type"), "missing_field", "event_type: Field required", event_id="e-1"
    ),
    "allowed is a text": Bad(
        spoilt({"decision": {"allowed": "false"}}),
        "wrong_type",
        "decision.allowed: Expected bool, got str: 'false'",
        event_id="e-1",
    ),
    "severity is a number": Bad(
        spoilt({"decision": {"severity": 5}}),
        "wrong_type",
        "decision.severity: Expected str, got int: 5",
        event_id="e-1",
    ),
    "guard is an object": Bad(
        spoilt({"decision": {"guard": {}}}),
        "wrong_type",
        "decision.guard: Expected str, got object: an object",
        event_id="e-1",
    ),
    "unknown severity": Bad(
        spoilt({"decision": {"severity": "apocalyptic"}}),
        "invalid_value",
        "decision.severity: a denial of unknown severity: 'apocalyptic'",
        event_id="e-1",
    ),
    "no session": Bad(spoilt({}, remove="session.id"), "missing_field", "session.id: Field required", event_id="e-1"),
    "no agent": Bad(spoilt({"agent": None}), "wrong_type", "agent: Expected object, got null: null", event_id="e-1"),
    "a label is a number": Bad(
        spoilt({}, labels={"team\n": 1}),
        "wrong_type",
        "labels.team\\n: Expected str, got int: 1",
        event_id="e-1",
    ),
    "no time": Bad(
        spoilt({"timestamp": "yesterday"}),
        "invalid_value",
        "timestamp: not an RFC 3339 time: 'yesterday'",
        event_id="e-1",
    ),
    "no event id": Bad(spoilt({"event_id": 7}), "wrong_type", "event_id: Expected str, got int: 7"),
    "too large": Bad(
        encode(event(reason="x" * LIMIT)), "too_large", f"bytes are more than the {LIMIT} allowed", headers=()
    ),
    "too large by its headers": Bad(
        encode(event()), "too_large", f"bytes are more than the {LIMIT} allowed", headers=[("h", b"h" * 700_000)]
    ),
    "many headers": Bad(b"?", "not_json", "not JSON: ", headers=[(f"h{number}", b"v" * 50) for number in range(200)]),
    "too many headers": Bad(b"{}", "too_large", "bytes are more than", headers=[("h", b"")] * 20_000),
    "no key": Bad(b"{}", "missing_field", "event_type: Field required", key=None),
    "a key of any bytes": Bad(b"{}", "missing_field", "event_type: Field required", key=b"\xff\x00"),
    "headers like ours": Bad(
        b"{}", "missing_field", "", headers=[("alerting.topic", b"mine"), ("alerting.error", b"")]
    ),
}


async def poisoned_world(broker: Broker, sandbox: Sandbox) -> World:
    return await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={},
        opsgenie={},
        delivery={"max_event_bytes": LIMIT},
    )


async def test_each_poison_is_one_dead_letter_for_each_pipeline_byte_for_byte_and_the_partition_moves_on(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await poisoned_world(broker, sandbox)
    async with producing(world) as producer:
        for bad in POISON.values():
            await producer.send_and_wait(world.events, bad.value, bad.key, headers=list(bad.headers))
        await producer.send_and_wait(world.events, encode(event(session="after")))
    async with running_member(world.config) as member:
        await incidents(sandbox, 1, "pagerduty")
        await incidents(sandbox, 1, "opsgenie")
        await first_dead_letters(world, 2 * len(POISON))
        for provider in ("pagerduty", "opsgenie"):
            assert member.metric("events_total", pipeline=provider, outcome="poison") == len(POISON)
    async with running_member(world.config) as member:  # nothing is decided twice
        await member.restored(1)
        await member.restored(1, "opsgenie")

    letters = await dead_letters(world)
    for provider in ("pagerduty", "opsgenie"):
        of_provider = [letter for letter in letters if letter.provider == provider]
        assert [letter.record.offset for letter in of_provider] == list(range(len(POISON)))
        for (name, bad), letter in zip(POISON.items(), of_provider, strict=True):
            record = letter.record
            assert (record.key, record.value, list(record.headers)) == (bad.key, bad.value, list(bad.headers)), name
            assert (record.topic, record.partition) == (world.events, 0), name
            assert (letter.stage, letter.error_class, letter.event_id) == ("decode", bad.error_class, bad.event_id), (
                name
            )
            assert bad.error in letter.error, name
            assert (letter.retryable, letter.attempts, letter.occurrences) == (False, 0, 1), name
        assert await group_offset(world, provider) == len(POISON) + 1
    assert {incident.dedup_key for incident in sandbox.incidents()} == {
        "forbidden_path:after",
        "clawdstrike-forbidden_path-after",
    }


async def test_what_is_no_alert_of_ours_is_not_poison(broker: Broker, sandbox: Sandbox) -> None:
    """Not validated to the end: an allowed event that would fail, and an allowed one of a severity nobody knows."""
    world = await poisoned_world(broker, sandbox)
    harmless = [
        {**event(allowed=True, severity="info"), "agent": None},
        event(allowed=True, severity="none of ours"),
        {**event(severity="low"), "session": 5},
    ]
    async with running_member(world.config) as member, producing(world) as producer:
        for fields in harmless:
            await producer.send_and_wait(world.events, encode(fields))
        await producer.send_and_wait(world.events, encode(event()))
        await incidents(sandbox, 1)
        assert member.metric("events_total", pipeline="pagerduty", outcome="ignored") == len(harmless)
    assert await committed_records(world.bootstrap_servers, world.dlq) == []


def has_counted_two_tombstones(member: Member, provider: str) -> bool:
    return member.metric("events_total", pipeline=provider, outcome="tombstone") == 2


async def test_tombstones_are_skipped_and_counted(broker: Broker, sandbox: Sandbox) -> None:
    world = await poisoned_world(broker, sandbox)
    async with running_member(world.config) as member, producing(world) as producer:
        for key in (b"sess-1", b"\xff"):
            await producer.send_and_wait(world.events, None, key)
        for provider in ("pagerduty", "opsgenie"):
            await wait_until(
                partial(has_counted_two_tombstones, member, provider),
                f"{provider} has counted the tombstones",
            )
    assert await dead_letters(world) == []
    assert (await group_offset(world), await group_offset(world, "opsgenie")) == (2, 2)
    assert sandbox.requests() == []


async def test_an_event_with_large_headers_and_no_key_comes_out_of_the_state_as_it_was(
    broker: Broker, sandbox: Sandbox
) -> None:
    """Owed, its record goes into the state; the next member restores it, gives it up and writes the dead letter."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"give_up_after": "3s"})
    sandbox.keys("pagerduty").revoke(ROUTING_KEY)
    headers = [("payload", bytes(range(256)) * 600), ("payload", b""), ("nothing", None)]
    value = encode(event())
    async with running_member(world.config) as member, producing(world) as producer:
        await producer.send_and_wait(world.events, value, None, headers=list(headers))
        await wait_until(lambda: member.metric("owed", pipeline="pagerduty", partition="0") == 1, "it is owed")
    assert await dead_letters(world) == []
    async with running_member(world.config):
        (letter,) = await first_dead_letters(world, 1)
    assert (letter.record.key, letter.record.value, list(letter.record.headers)) == (None, value, headers)
    assert await group_offset(world) == 1


BROKER_LIMIT = 1_048_588
"""Kafka's default of ``max.message.bytes``, which both the events and the dead letters of these tests have."""


def _record_of(size: int, what: str, alphabet: bytes | None) -> tuple[bytes, Headers]:
    """A record that is no event, with about so many random bytes in it."""
    fill = random.Random(7).randbytes(3 * BROKER_LIMIT)[:size]
    if alphabet is not None:
        fill = fill.translate(bytes(alphabet[byte % len(alphabet)] for byte in range(256)))
    match what:
        case "value":
            return fill, [("trace", b"1")]
        case "headers":
            return b"{}", [("trace", fill)]
    half = size // 2
    return fill[:half], [("first", fill[half:-1]), ("second", fill[-1:])]


@pytest.mark.real_kafka("it refuses records that are too large")
@pytest.mark.parametrize("what", ["value", "headers", "value and headers"])
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
async def test_a_record_as_large_as_the_broker_takes_is_dead_lettered_as_far_as_it_fits(
    broker: Broker, sandbox: Sandbox, what: str, compression: str | None
) -> None:
    """There is no room for what a dead letter says besides, nor, in a compressed one, for all of the record."""
    world = await poisoned_world(broker, sandbox)
    scratch, small = [await create_topic(world.bootstrap_servers) for _ in range(2)]
    world.document["kafka"]["topics"]["dlq"] = small
    alphabet = b"0123456789abcdef" if compression else None
    producer = AIOKafkaProducer(
        bootstrap_servers=world.bootstrap_servers,
        max_request_size=8 * BROKER_LIMIT,
        max_batch_size=8 * BROKER_LIMIT,
        compression_type=compression,
    )
    async with running(producer):
        taken, refused = BROKER_LIMIT // 2, 3 * BROKER_LIMIT
        while refused - taken > 1:
            size = (taken + refused) // 2
            value, headers = _record_of(size, what, alphabet)
            try:
                await producer.send_and_wait(scratch, value, b"sess-1", headers=list(headers))
                taken = size
            except MessageSizeTooLargeError:
                refused = size
        value, headers = _record_of(taken, what, alphabet)
        await producer.send_and_wait(world.events, value, b"sess-1", headers=list(headers))
        await producer.send_and_wait(world.events, encode(event(session="after")), b"sess-1")
    assert taken > BROKER_LIMIT - 200
    async with running_member(world.config, dead_letter_limit=BROKER_LIMIT):
        await incidents(sandbox, 1, "pagerduty")
        await incidents(sandbox, 1, "opsgenie")

        async def both_written() -> bool:
            return len(await committed_records(world.bootstrap_servers, small)) == 2

        await wait_until(both_written, "one dead letter for each pipeline", timeout=20, poll=0.2)
    for letter in [
        decode(one.key, one.value, one.headers) for one in await committed_records(world.bootstrap_servers, small)
    ]:
        record = letter.record
        assert (record.topic, record.offset, record.key) == (world.events, 0, b"sess-1")
        if letter.cut is None:
            assert (record.value, record.headers) == (value, tuple(headers))
            continue
        assert (letter.cut.value_bytes, letter.cut.header_count) == (len(value), len(headers))
        assert letter.cut.value_sha256 == hashlib.sha256(value).hexdigest()
        assert value.startswith(record.value or b"")
        if what == "value":
            assert len(record.value or b"") > BROKER_LIMIT - 2000
    assert len(sandbox.incidents()) == 2
