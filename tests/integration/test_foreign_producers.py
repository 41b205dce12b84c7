"""What other producers may write and ours does not: every compression, header names that are no UTF-8."""

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import running
from tests.support.seen import first_dead_letters
from tests.support.service import World, incidents, make_world, running_member

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class _RawName(str):
    """A header name that is written as bytes that are no UTF-8."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff" + super().encode(encoding, errors)


async def _write(world: World, values: Sequence[bytes], *, compression: str | None = None, name: str = "n") -> None:
    """Write these in one batch, with one header each."""
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers)) as producer:
        batch = producer.create_batch()
        codec = CODECS[compression] if compression else 0
        batch._builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 20)
        for value in values:
            batch.append(key=b"s", value=value, timestamp=None, headers=[(name, b"1")])
        await (await producer.send_batch(batch, world.events, partition=0))


async def test_records_of_every_compression_are_read(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    for codec in CODECS:
        await _write(world, [encode(event(session=codec, reason="x" * 1000))], compression=codec)
    async with running_member(world.config):
        await incidents(sandbox, len(CODECS), "pagerduty")
    found = sandbox.incidents("pagerduty")
    assert sorted(incident.dedup_key for incident in found) == [f"forbidden_path:{codec}" for codec in sorted(CODECS)]


@pytest.mark.parametrize("compression", [None, "zstd"])
async def test_a_header_name_that_is_no_utf8_stops_nothing_and_loses_nothing(
    broker: Broker, sandbox: Sandbox, compression: str | None
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    await _write(world, [encode(event(session="before"))])
    values = [encode(event(session="first")), b"{poison", encode(event(session="last"))]
    await _write(world, values, compression=compression, name=_RawName("ame"))
    await _write(world, [encode(event(session="after"))])
    async with running_member(world.config):
        await incidents(sandbox, 4, "pagerduty")
        (letter,) = await first_dead_letters(world, 1)
    sessions = ("before", "first", "last", "after")
    opened = [incident.dedup_key for incident in sandbox.incidents("pagerduty")]
    assert sorted(opened) == sorted(f"forbidden_path:{session}" for session in sessions)
    assert (letter.record.offset, letter.record.value) == (2, b"{poison")
    assert list(letter.record.headers) == [("\\xffame", b"1")]
