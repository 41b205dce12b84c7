"""The way in over loopback, with a producer of the test's own: what is answered, and what Kafka is given."""

import asyncio
import contextlib
import gzip
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import ANY

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidTimestampError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)

from consumer.dlq.dead_letter import decode
from consumer.events.event import Decoder, SecurityEvent
from consumer.events.filter import Filter
from consumer.events.wrapping import STRUCTURED
from consumer.kafka.clients import KafkaClients
from consumer.receivers import ingest as package
from consumer.receivers.ingest.judge import Judge, Judgement, Unfit
from consumer.receivers.ingest.service import kafka_producers
from consumer.receivers.ingest.split import split as split_it
from consumer.receivers.posts import body as body_module
from consumer.receivers.posts import connections as connections_module
from consumer.receivers.posts import producer as producer_module
from consumer.receivers.posts import writer as writer_module
from consumer.receivers.posts.connections import Connection
from consumer.telemetry.server import ServerError
from state.violation import Record
from tests.support.events import encode, event
from tests.support.ingest import TOKEN, FakeKafka, FakeProducer, Ingest, ingest_config, running_ingest
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DLQ = "clawdstrike.alerting.dlq"


# what is taken


async def test_an_event_is_answered_when_kafka_has_it() -> None:
    value = encode(event(session="sess-9"))
    async with running_ingest() as ingest:
        status, said, _ = await ingest.post(value)
        assert (status, said) == (200, {"written": 1, "repeated": 0, "invalid": 0})
        (record,) = ingest.kafka.records
        assert (record.topic, record.key, record.value) == ("clawdstrike.events", b"sess-9", value)
        assert ingest.metric("events_total", outcome="written") == 1
        assert ingest.metric("requests_total", status="200") == 1


async def test_nothing_is_answered_before_kafka_has_it() -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka) as ingest:
        kafka.is_away = True
        posting = asyncio.create_task(ingest.post(event()))
        await wait_until(lambda: ingest.metric("waiting_bytes") > 0, "it waits")
        await asyncio.sleep(0.05)
        assert not posting.done()
        kafka.come_back()
        assert (await posting)[0] == 200
        assert ingest.metric("waiting_bytes") == 0


@pytest.mark.parametrize("packed", [False, True])
async def test_several_events_in_all_their_forms(packed: bool) -> None:
    one, other = event(), event()
    envelopes = [{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": data} for data in (one, other)]
    forms = [
        (orjson.dumps([one, other]), "application/json"),
        (orjson.dumps(one) + b"\n" + orjson.dumps(other) + b"\n", "application/x-ndjson"),
        (orjson.dumps(envelopes), "application/cloudevents-batch+json"),
        (b"".join(map(orjson.dumps, envelopes)).replace(b"}{", b"}\n{"), STRUCTURED),
    ]
    for body, content_type in forms:
        async with running_ingest() as ingest:
            headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if packed else {})}
            status, said, _ = await ingest.post(gzip.compress(body) if packed else body, headers)
            assert (status, said["written"]) == (200, 2)
            assert ingest.kafka.values() == [orjson.dumps(one), orjson.dumps(other)]


async def test_a_binary_cloudevent_is_its_body() -> None:
    async with running_ingest() as ingest:
        headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}
        assert (await ingest.post(event(), {**headers, "Content-Type": "application/json"}))[0] == 200
        assert len(ingest.kafka.values()) == 1


async def test_the_order_of_an_array_is_kept() -> None:
    events = [event() for _ in range(300)]
    async with running_ingest() as ingest:
        assert (await ingest.post(events))[1]["written"] == 300
        assert ingest.kafka.values() == [orjson.dumps(one) for one in events]


@pytest.mark.parametrize("count", [2, 19])
async def test_large_events_are_not_judged_in_one_step_of_the_loop(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, when, split_at = 0, list[int](), list[int]()

    async def tick() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    def judge(self: Judge, value: bytes) -> Judgement | Unfit:
        when.append(steps)
        time.sleep(0.006)
        return judge_it(self, value)

    def split(*args: Any) -> Any:
        split_at.append(steps)
        return split_it(*args)

    judge_it = Judge.judge
    monkeypatch.setattr(Judge, "judge", judge)
    monkeypatch.setattr("consumer.receivers.ingest.handler.split", split)
    async with running_ingest() as ingest:
        ticking = asyncio.create_task(tick())
        events = [event(reason="x" * (900_000 // count // 4)) for _ in range(count)]
        assert (await ingest.post(events))[1]["written"] == count
        ticking.cancel()
    assert len(set(when)) == count, "each of them takes as long as a slice does"
    assert split_at[0] < when[0], "and so does taking the body apart"


async def test_of_one_connection_not_much_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def received(self: Connection, data: bytes) -> None:
        sizes.append(len(data))
        receive_it(self, data)

    receive_it = Connection.data_received
    monkeypatch.setattr(Connection, "data_received", received)
    async with running_ingest() as ingest:
        assert (await ingest.post([event(reason="x" * 200_000) for _ in range(4)]))[0] == 200
    assert max(sizes) <= 32 * 1024


async def test_of_an_array_with_a_bad_event_the_others_are_written_and_it_is_a_dead_letter() -> None:
    good, bad = event(), event(severity="urgent", event_id="e-bad")
    async with running_ingest() as ingest:
        status, said, _ = await ingest.post([good, bad, 17])
        assert status == 200
        assert {name: said[name] for name in ("written", "repeated", "invalid")} == {
            "written": 1,
            "repeated": 0,
            "invalid": 2,
        }
        assert [(error["event"], error["path"]) for error in said["errors"]] == [(1, "decision.severity"), (2, "")]
        assert ingest.kafka.values() == [orjson.dumps(good)]
        letter, other = [record for record in ingest.kafka.records if record.topic == DLQ]
        read = decode(letter.key, letter.value, letter.headers)
        assert (read.stage, read.provider, read.error_class, read.event_id) == (
            "ingest", "ingest", "invalid_value", "e-bad",
        )  # fmt: skip
        assert read.record.value == orjson.dumps(bad)
        assert decode(other.key, other.value, other.headers).record.value == b"17"
        assert len(ingest.log("ingest_invalid")) == 1
        assert ingest.metric("events_total", outcome="invalid") == 2


async def test_a_dead_letter_fits_its_topic() -> None:
    kafka = FakeKafka(dead_letter_limit=2000)
    async with running_ingest(kafka) as ingest:
        assert (await ingest.post({"x": "y" * 10_000}))[1]["invalid"] == 1
        (letter,) = [record for record in kafka.records if record.topic == DLQ]
        assert decode(letter.key, letter.value, letter.headers).cut is not None
        assert len(letter.value) < 2000


async def test_of_very_many_bad_events_ten_are_explained() -> None:
    async with running_ingest() as ingest:
        _, said, _ = await ingest.post([{"n": n} for n in range(500)])
        assert (said["invalid"], len(said["errors"])) == (500, 10)


# what a sender sends again


async def test_what_was_written_is_not_written_again() -> None:
    one = event()
    async with running_ingest() as ingest:
        await ingest.post(one)
        status, said, _ = await ingest.post([one, event()])
        assert (status, said) == (200, {"written": 1, "repeated": 1, "invalid": 0})
        assert len(ingest.kafka.values()) == 2
        await ingest.post([17])
        assert (await ingest.post([17]))[1]["invalid"] == 1
        assert len(ingest.kafka.values(DLQ)) == 1


async def test_different_events_of_one_id_are_all_written() -> None:
    """The engine's privacy settings can make `[REDACTED]` of any text, ids too."""
    first, other = event(event_id="[REDACTED]", session="s-1"), event(event_id="[REDACTED]", session="s-2")
    async with running_ingest() as ingest:
        assert (await ingest.post(first))[1]["written"] == 1
        status, said, _ = await ingest.post([other, other, first])
        assert (status, said) == (200, {"written": 1, "repeated": 2, "invalid": 0})
        assert ingest.kafka.values() == [orjson.dumps(first), orjson.dumps(other)]


async def test_while_a_write_is_under_way_the_same_event_waits_for_that() -> None:
    kafka, one = FakeKafka(), event()
    async with running_ingest(kafka, answer_within="300ms") as ingest:
        kafka.is_away = True
        status, said, headers = await ingest.post(one)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert said == {"error": "Kafka has not taken this within 0.3 s"}
        again = asyncio.create_task(ingest.post(one))
        await asyncio.sleep(0.1)
        kafka.come_back()
        assert (await again)[0] == 200
        assert kafka.values() == [orjson.dumps(one)]
        assert (await ingest.post(one))[1]["repeated"] == 1


# what is refused


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (b"", {}, 400, "the body is empty"),
        (b"hello", {}, 400, "not JSON: "),
        (b'{"a": NaN}', {}, 400, "not JSON: "),
        (b"[{}, {]", {}, 400, "not JSON: "),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400, "the body is not compressed as Content-Encoding says"),
        (gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}, 400, "the compressed body ends too early"),
        (b"{}", {"Content-Encoding": "br"}, 415, "the Content-Encoding must be gzip, deflate, or none"),
        (b"{}", {"Content-Type": "application/cloudevents+avro"}, 415, "CloudEvents are taken as JSON"),
        (bytes(10 << 20), {}, 413, "a body has at most 1048576 bytes"),
        (gzip.compress(bytes(64 << 20)), {"Content-Encoding": "gzip"}, 413, "a body has at most 1048576 bytes"),
        (b"[" + b"0," * 20_000 + b"0]", {}, 413, "a body has at most 10000 events"),
    ],
    ids=["empty", "text", "NaN", "broken", "no gzip", "cut gzip", "br", "avro", "10 MiB", "bomb", "many"],
)
async def test_what_cannot_be_taken_is_told_and_nothing_of_it_is_written(
    body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    async with running_ingest() as ingest:
        found, said, _ = await ingest.post(body, headers)
        assert found == status
        assert said["error"].startswith(error)
        assert ingest.kafka.records == []
        await wait_until(lambda: ingest.metric("waiting_bytes") == 0, "nothing is kept of it")
        assert ingest.metric("requests_total", status=str(status)) == 1


async def test_a_body_without_a_length_is_bounded_as_well() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 65536

    async with running_ingest() as ingest:
        status, said = await raw_post(ingest, stream())
        assert status == 413, said


async def raw_post(ingest: Ingest, stream: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """Send chunks until an answer comes, as a sender that does not look at it would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    try:
        async for chunk in stream:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
    except ConnectionError:
        pass
    answer = await reader.read(4096)
    writer.close()
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("token", [None, "", "wrong-wrong-wrong-wrong", TOKEN[:-1], TOKEN + "x"])
async def test_without_a_token_nothing_is_read(token: str | None) -> None:
    async with running_ingest() as ingest:
        status, said, headers = await ingest.post(event(), token=token)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert said == {"error": "a bearer token is required, and this is none of ours"}
        assert ingest.kafka.records == []
        (line,) = ingest.log("ingest_refused")
        assert line["remote"] == "127.0.0.1"
        assert not token or token not in ingest.written.getvalue()


async def test_each_of_several_tokens_is_good() -> None:
    async with running_ingest(tokens=[TOKEN, "the-next-token-0123"]) as ingest:
        for token in (TOKEN, "the-next-token-0123"):
            assert (await ingest.post(event(), token=token))[0] == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/events", 405), ("POST", "/v1/other", 404)])
async def test_another_address_and_another_method_are_one_line(method: str, path: str, status: int) -> None:
    async with (
        running_ingest() as ingest,
        ingest.http.request(method, f"http://127.0.0.1:{ingest.port}{path}") as response,
    ):
        assert response.status == status
        assert list(await response.json()) == ["error"]


@pytest.mark.parametrize(
    "sent",
    [
        b"HELLO\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nAuthorization: Bearer other-secret-token\x00\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"other-secret-token" * 1000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["words", "NUL", "long", "TLS"],
)
async def test_what_is_no_request_is_answered_without_repeating_it(sent: bytes) -> None:
    async with running_ingest() as ingest:
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        writer.write(sent)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        if answer:
            assert answer.startswith(b"HTTP/1.1 400 ") or answer.startswith(b"HTTP/1.0 400 ")
            assert answer.endswith(b'{"error":"this is no HTTP request that can be read"}\n')
        assert b"other-secret-token" not in answer
        assert "other-secret-token" not in ingest.written.getvalue()


async def test_a_fault_of_ours_is_one_line_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr("consumer.receivers.ingest.handler.split", fail)
    async with running_ingest() as ingest:
        status, said, _ = await ingest.post(event())
        assert (status, said) == (500, {"error": "a fault of this service: its log says more"})
        (line,) = ingest.log("receiver_failed")
        assert line["exception"].endswith("RuntimeError: of ours")
        ingest.written.truncate(0)  # which no other test may have in it


# slow and silent senders


async def test_a_slow_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.3)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(20):  # it ends well before the server lets go of who does not look
            yield b" "
            await asyncio.sleep(0.05)

    async with running_ingest() as ingest:
        status, answer = await raw_post(ingest, drip())
        assert status == 408, answer
        assert ingest.metric("waiting_bytes") == 0


async def test_a_sender_that_leaves_in_the_midst_leaves_nothing() -> None:
    async with running_ingest() as ingest:
        _, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b"[1,2")
        await writer.drain()
        await wait_until(lambda: ingest.metric("waiting_bytes") > 0, "it is being read")
        writer.close()
        await wait_until(lambda: ingest.metric("waiting_bytes") == 0, "it is gone")
        await wait_until(lambda: ingest.metric("connections") <= 1, "so is its connection")
        assert (await ingest.post(event()))[0] == 200


async def test_silent_connections_are_closed_and_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "SILENT_SECONDS", 0.5)
    async with running_ingest(max_connections=20) as ingest:
        silent = [await asyncio.open_connection("127.0.0.1", ingest.port) for _ in range(100)]
        silent[-1][1].write(b"POST /v1/events HTTP/1.1\r\nAuthor")  # a head that never ends is silence, too
        await wait_until(lambda: 0 < ingest.metric("connections") <= 20, "no more than so many")
        for _ in range(30):
            assert (await ingest.post(event()))[0] == 200
        assert all([await ended(reader) for reader, _ in silent])
        for _, writer in silent:
            writer.close()


async def test_a_thousand_that_say_nothing_keep_nobody_out_and_leave_nothing() -> None:
    async with running_ingest() as ingest:
        silent = []
        for host in ("127.0.0.1", "127.0.0.2"):
            for _ in range(600):
                silent.append(await asyncio.open_connection("127.0.0.1", ingest.port, local_addr=(host, 0)))
                if len(silent) % 3 == 0:
                    silent[-1][1].write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        await wait_until(lambda: ingest.metric("connections") <= 1000, "no more than so many")
        for _ in range(20):
            assert (await ingest.post(event()))[0] == 200
        for _, writer in silent:
            writer.transport.abort()
        await wait_until(lambda: ingest.metric("connections") <= 1, "they are gone")
        assert ingest.metric("waiting_bytes") == 0


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has closed the connection, in whichever way."""
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_a_request_under_way_is_never_closed_for_others() -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka, max_connections=3) as ingest:
        kafka.is_away = True
        posting = [asyncio.create_task(ingest.post(event())) for _ in range(3)]
        await wait_until(lambda: ingest.metric("oldest_waiting_seconds") > 0.05, "all of them wait")
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        assert await ended(reader), "there is no place for it"
        writer.close()
        kafka.come_back()
        assert [(await one)[0] for one in posting] == [200] * 3


@pytest.mark.parametrize(
    ("limits", "raised", "most"), [((1024, 4096), (4096, 4096), 1000), ((600, 1200), (1200, 1200), 600)]
)
async def test_connections_leave_half_of_the_open_files_to_everything_else(
    limits: tuple[int, int], raised: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: limits)
    monkeypatch.setattr("resource.setrlimit", lambda _, new: given.append(new))
    async with running_ingest() as ingest:
        assert given == [raised]
        assert [line["max_connections"] for line in ingest.log("ingest_started")] == [most]
        cut = [(line["max_connections"], line["open_files"]) for line in ingest.log("receiver_connections_limited")]
        assert cut == ([] if most == 1000 else [(600, 1200)])


async def test_where_the_limit_of_open_files_cannot_be_raised_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr("resource.getrlimit", lambda _: (600, -1))
    monkeypatch.setattr("resource.setrlimit", fail)
    async with running_ingest() as ingest:
        (line,) = ingest.log("receiver_connections_limited")
        assert (line["max_connections"], line["open_files"]) == (300, 600)


# when Kafka takes nothing, or not enough


async def test_more_than_may_wait_is_sent_away() -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka, max_waiting_bytes=1 << 20) as ingest:
        kafka.is_away = True
        large = [event(reason="x" * 100_000) for _ in range(5)]
        posting = [asyncio.create_task(ingest.post([one])) for one in large]
        await wait_until(lambda: ingest.metric("waiting_bytes") > 500_000, "they wait")
        status, said, headers = await ingest.post([event(reason="x" * 200_000) for _ in range(4)])
        assert (status, headers["Retry-After"]) == (503, "5")
        assert said == {"error": "too much is waiting for Kafka (ingest.max_waiting_bytes)"}
        kafka.come_back()
        assert [(await one)[0] for one in posting] == [200] * 5
        assert ingest.metric("waiting_bytes") == 0
        assert (await ingest.post(event()))[0] == 200


async def test_while_kafka_takes_nothing_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "STALLED_SECONDS", 0.2)
    kafka, one = FakeKafka(), event()
    async with running_ingest(kafka, answer_within="100ms") as ingest:
        kafka.is_away = True
        assert (await ingest.post(one))[0] == 503
        await asyncio.sleep(0.2)
        status, said, _ = await ingest.post(event())
        assert (status, said) == (503, {"error": "Kafka takes no events now"})
        assert await probe(ingest, "/readyz") == 503
        assert await probe(ingest, "/healthz") == 200
        assert await probe(ingest, "/readyz/traffic") == 200
        await wait_until(lambda: ingest.log("receiver_stopped_taking"), "it is said")
        kafka.come_back()
        assert await probe(ingest, "/readyz") == 200
        assert (await ingest.post(one))[1]["repeated"] == 1
        await wait_until(lambda: ingest.log("receiver_takes_again"), "it is said")
        assert kafka.values() == [orjson.dumps(one)]


async def probe(ingest: Ingest, path: str) -> int:
    async with ingest.http.get(f"http://127.0.0.1:{ingest.port}{path}") as response:
        return response.status


async def test_after_an_error_of_a_producer_there_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.05)
    kafka, one = FakeKafka(), event()
    async with running_ingest(kafka) as ingest:
        kafka.error = OutOfOrderSequenceNumber()
        status, said, _ = await ingest.post(one)
        assert (status, said) == (503, {"error": "Kafka has not taken all of this"})
        assert (await ingest.post(one))[0] == 503
        assert await probe(ingest, "/readyz") == 503
        kafka.error = None
        await wait_until(lambda: ingest.kafka.producers[-1].closed is False, "there is another one")

        async def is_ready() -> bool:
            return await probe(ingest, "/readyz") == 200

        await wait_until(is_ready, "it takes events")
        assert (await ingest.post(one))[1]["written"] == 1
        assert kafka.producers[0].closed
        assert len(ingest.log("receiver_producer_failed")) == 1


class StrictBroker:
    """Stands for a cluster whose topic takes ``most`` bytes and does not tell, and whose clock says ``time``."""

    def __init__(self, most: int, time: float) -> None:
        self.most, self.time = most, time
        self.config = ingest_config().kafka
        self.made = 0
        self.taken: list[tuple[str, bytes, int | None]] = []

    def producer(self, *, batch_bytes: int) -> "StrictBroker":
        self.made += 1
        return self

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    @property
    def client(self) -> Any:
        return SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=lambda topic: {0, 1}))

    async def send(self, topic: str, value: bytes, *, timestamp_ms: int | None, **_: Any) -> "asyncio.Future[None]":
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(value) > self.most:
            sent.set_exception(MessageSizeTooLargeError())
        elif (time.time() * 1000 if timestamp_ms is None else timestamp_ms) > (self.time + 3600) * 1000:
            sent.set_exception(InvalidTimestampError())
        else:
            self.taken.append((topic, value, timestamp_ms))
            sent.set_result(None)
        return sent


@contextlib.asynccontextmanager
async def strict(monkeypatch: pytest.MonkeyPatch, broker: StrictBroker) -> AsyncIterator[Ingest]:
    """The way in with its own producer, which has that broker."""

    async def nothing(*_: Any) -> None:
        pass

    async def newest(_: Any, partition: TopicPartition, now: float) -> float | None:
        return None if partition.partition == 0 else broker.time - 60

    monkeypatch.setattr(producer_module, "start_producer", nothing)
    monkeypatch.setattr(producer_module, "close_producer", nothing)
    monkeypatch.setattr(producer_module, "newest_time", newest)
    monkeypatch.setattr("consumer.receivers.ingest.service.ask_max_bytes", nothing)
    kafka = FakeKafka()
    kafka.make = kafka_producers(ingest_config(), cast(KafkaClients, broker))  # type: ignore[assignment, method-assign]
    async with running_ingest(kafka) as ingest:
        yield ingest


async def posted(ingest: Ingest, body: Any) -> dict[str, Any]:
    """Post as a sender that tries again."""
    async with asyncio.timeout(5):
        while True:
            status, said, _ = await ingest.post(body)
            if status == 200:
                return said
            assert status == 503
            await asyncio.sleep(0.02)


async def test_what_is_too_large_for_kafka_becomes_a_dead_letter_and_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = StrictBroker(most=60_000, time=time.time())
    async with strict(monkeypatch, broker) as ingest:
        small, large, fits = event(), event(labels={"p": "x" * 100_000}), event(labels={"p": "x" * 55_000})
        assert await posted(ingest, large) == {"written": 0, "repeated": 0, "invalid": 1, "errors": ANY}
        made = broker.made
        assert made < 10
        assert (await posted(ingest, fits))["written"] == 1
        for _ in range(3):
            assert (await posted(ingest, event(labels={"p": "x" * 110_000})))["invalid"] == 1
        assert (await posted(ingest, small))["written"] == 1
        assert broker.made == made, "what is known to be refused is not tried again"
        assert [value for topic, value, _ in broker.taken if topic != DLQ] == [encode(fits), encode(small)]


async def test_where_the_hosts_clock_is_refused_records_have_a_time_that_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = StrictBroker(most=1 << 20, time=time.time() - 86_400)
    async with strict(monkeypatch, broker) as ingest:
        for _ in range(3):
            assert (await posted(ingest, event()))["written"] == 1
        assert broker.made == 2
        assert all(abs((at or 0) / 1000 - broker.time + 60) < 10 for _, _, at in broker.taken)


async def test_a_fault_with_a_producer_does_not_end_the_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.05)
    kafka = FakeKafka()
    async with running_ingest(kafka) as ingest:
        kafka.error, kafka.fault = OutOfOrderSequenceNumber(), RuntimeError("of ours")
        assert (await ingest.post(event()))[0] == 503
        await wait_until(lambda: ingest.log("receiver_failed"), "it is said")
        kafka.error = kafka.fault = None

        async def is_ready() -> bool:
            return await probe(ingest, "/readyz") == 200

        await wait_until(is_ready, "it takes events")
        assert (await ingest.post(event()))[0] == 200
        ingest.written.truncate(0)


async def test_what_a_failed_producer_has_in_hand_is_to_be_sent_again() -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka) as ingest:
        kafka.is_away = True
        posting = asyncio.create_task(ingest.post(event()))
        await wait_until(lambda: ingest.metric("waiting_bytes") > 0, "it waits")
        kafka.error = TopicAuthorizationFailedError("clawdstrike.events")
        assert (await ingest.post(event()))[0] == 503
        assert (await posting)[0] == 503
        assert ingest.metric("waiting_bytes") == 0


async def test_at_the_end_what_was_taken_is_answered() -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka) as ingest:
        kafka.is_away = True
        posting = asyncio.create_task(ingest.post(event()))
        await wait_until(lambda: ingest.metric("waiting_bytes") > 0, "it waits")
        asyncio.get_running_loop().call_later(0.3, kafka.come_back)
    assert (await posting)[0] == 200
    assert len(kafka.values()) == 1


async def test_at_the_end_everybody_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(self: FakeProducer, seconds: float) -> None:
        await asyncio.sleep(seconds)  # as long as it is given, as it is while Kafka is away

    monkeypatch.setattr(FakeProducer, "close", close)
    kafka = FakeKafka()
    async with running_ingest(kafka, {"delivery": {"shutdown_grace": "2s"}}) as ingest:
        kafka.is_away = True
        posting = [asyncio.create_task(ingest.post(event())) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b"[1,2")
        await wait_until(lambda: ingest.metric("waiting_bytes") > 2000, "all of them are here")
        began = time.monotonic()
    assert time.monotonic() - began < 2.5
    assert [(await one)[:2] for one in posting] == [(503, {"error": "this process is being stopped"})] * 3
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_while_it_stops_nothing_more_is_taken_and_a_body_under_way_is() -> None:
    kafka, stopping = FakeKafka(), asyncio.Event()
    async with running_ingest(kafka, stopping=stopping) as ingest:
        kafka.is_away = True
        posting = asyncio.create_task(ingest.post(event()))
        connections = [await asyncio.open_connection("127.0.0.1", ingest.port) for _ in range(2)]
        (_, half), (reader, other) = connections
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 4\r\n\r\n"
        half.write(head.encode() + b"[1")
        await wait_until(lambda: ingest.metric("waiting_bytes") > 500, "it waits")
        await asyncio.sleep(0.1)
        stopping.set()
        await asyncio.sleep(0.1)
        with pytest.raises(OSError, match=r"\[Errno"):
            await asyncio.open_connection("127.0.0.1", ingest.port)
        other.write(head.encode() + b"[17]")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"this process is being stopped" in answer
        half.write(b"7]")
        await asyncio.sleep(0.1)
        kafka.come_back()
        assert (await posting)[0] == 200
        assert (await connections[0][0].read()).startswith(b"HTTP/1.1 200 ")
        half.close()
        other.close()


async def test_an_address_that_is_taken_is_named() -> None:
    async with running_ingest() as ingest:
        with pytest.raises(ServerError, match=r"^ingest\.host, ingest\.port: cannot listen on 127\.0\.0\.1:"):
            async with running_ingest(port=ingest.port):
                pass


BOOK = Path(__file__).parents[2] / "deploy" / "webhooks.md"


def snippet() -> str:
    """What the book says an engine is connected by from Python."""
    found = re.search(r"## From Python\n.*?```python\n(.*?)```", BOOK.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_books_snippet_connects_the_engines_package(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka()
    async with running_ingest(kafka) as ingest:
        monkeypatch.setenv("CLAWDSTRIKE_INGEST_URL", ingest.url)
        monkeypatch.setenv("CLAWDSTRIKE_INGEST_TOKEN", TOKEN)
        await asyncio.to_thread(exec, snippet(), {"__name__": "snippet"})
        (record,) = kafka.records
        assert (record.topic, record.key) == ("clawdstrike.events", b"sess-1")
        found = Decoder(Filter(), None, 1 << 20).decode(Record("t", 0, 0, 0, record.key, record.value))
        assert isinstance(found, SecurityEvent)
        assert (found.alertable, found.guard, found.tenant_id) == (True, "forbidden_path", "acme-corp")


async def test_the_books_snippet_sends_again_what_kafka_has_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka, pauses = FakeKafka(), list[float]()
    async with running_ingest(kafka, answer_within="100ms") as ingest:
        monkeypatch.setenv("CLAWDSTRIKE_INGEST_URL", ingest.url)
        monkeypatch.setenv("CLAWDSTRIKE_INGEST_TOKEN", TOKEN)
        loop = asyncio.get_running_loop()

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            asyncio.run_coroutine_threadsafe(back(), loop).result()

        async def back() -> None:
            kafka.come_back()

        kafka.is_away = True
        text = snippet().replace("time.sleep(pause)", "sleep(pause)")
        await asyncio.to_thread(exec, text, {"__name__": "snippet", "sleep": sleep})
        assert pauses == [0.5]
        assert len(kafka.records) == 1


def test_the_package_says_what_it_is() -> None:
    assert "section 19" in (package.__doc__ or "")
    assert ingest_config().ingest.port == 0
