"""The way back over loopback, with a producer of the test's own: what is answered, and what Kafka is given."""

import asyncio
import contextlib
import gzip
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from hypothesis import given
from hypothesis import strategies as st

from consumer.config import ConfigError, parse_config
from consumer.feedback.records import FromProvider
from consumer.receivers.posts import writer as writer_module
from consumer.receivers.webhooks.client_credentials import TOKEN_SECONDS, ClientCredentials
from consumer.receivers.webhooks.handler import LARGEST_BODY
from providers.opsgenie.webhook import read as read_opsgenie
from providers.pagerduty.webhook import SIGNATURE, is_signed, sign
from providers.pagerduty.webhook import read as read_pagerduty
from providers.webhook import LookupFailed, Malformed, Nothing, Said
from state.provider_feedback import Happened, What
from tests.support.ingest import FakeKafka
from tests.support.waiting import wait_until
from tests.support.webhooks import BEARER, OTHER_SECRET, SECRET, TOKEN, opsgenie, pagerduty, running_webhooks

AT = 1_800_000_010.25
OPENED = 1_800_000_000.0


# what they say


@pytest.mark.parametrize(
    ("event_type", "what"),
    [
        ("incident.acknowledged", What.ACKNOWLEDGED),
        ("incident.unacknowledged", What.UNACKNOWLEDGED),
        ("incident.resolved", What.RESOLVED),
        ("incident.reopened", What.REOPENED),
        ("incident.reassigned", What.REASSIGNED),
        ("incident.priority_updated", What.PRIORITY_CHANGED),
    ],
)
def test_what_pagerduty_says(event_type: str, what: What) -> None:
    found = read_pagerduty(orjson.dumps(pagerduty(event_type)))
    assert found == Said("forbidden_path:s1", Happened(what, AT, "PT4KHLK", opened=OPENED), "Ann")
    found = read_pagerduty(orjson.dumps(pagerduty(event_type, created_at=None)))
    assert found == Said("forbidden_path:s1", Happened(what, AT, "PT4KHLK"), "Ann")


def test_a_note_is_about_the_incident_inside_it() -> None:
    incident = {"id": "PT4KHLK", "type": "incident_reference"}
    body = pagerduty("incident.annotated", id="N1", incident=incident)
    body["event"]["data"]["type"] = "incident_note"
    assert read_pagerduty(orjson.dumps(body)) == Said(None, Happened(What.ANNOTATED, AT, "PT4KHLK"), "Ann")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"event": {"event_type": "pagey.ping", "data": {"message": "Hello"}}}, "ping"),
        (pagerduty("incident.resolved", resolve_reason={"type": "merge_resolve_reason"}), "merge"),
        (pagerduty("incident.workflow.started"), "unknown_type"),
        (pagerduty("service.updated"), "unknown_type"),
        (pagerduty("incident.triggered"), "unknown_type"),
    ],
)
def test_what_is_of_no_concern(body: Any, kind: str) -> None:
    assert read_pagerduty(orjson.dumps(body)) == Nothing(kind)


def test_who_has_resolved_it_at_pagerduty() -> None:
    ours = {"type": "inbound_integration_reference", "summary": "Events API v2"}
    found = read_pagerduty(orjson.dumps(pagerduty("incident.resolved", agent=ours)))
    assert isinstance(found, Said)
    assert (found.it.by_integration, found.by) == (True, "Events API v2")
    automation = pagerduty("incident.resolved")
    automation["event"]["agent"] = None
    found = read_pagerduty(orjson.dumps(automation))
    assert isinstance(found, Said)
    assert (found.it.by_integration, found.by) == (False, "")


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("Acknowledge", What.ACKNOWLEDGED),
        ("UnAcknowledge", What.UNACKNOWLEDGED),
        ("Close", What.RESOLVED),
        ("AssignOwnership", What.REASSIGNED),
        ("AddNote", What.ANNOTATED),
        ("UpdatePriority", What.PRIORITY_CHANGED),
    ],
)
def test_what_opsgenie_says(action: str, what: What) -> None:
    expected = Said("clawdstrike-g-s1", Happened(what, AT, "a-1", opened=OPENED), "ann@example.com")
    assert read_opsgenie(orjson.dumps(opsgenie(action))) == expected
    unknown = Said("clawdstrike-g-s1", Happened(what, AT, "a-1"), "ann@example.com")
    assert read_opsgenie(orjson.dumps(opsgenie(action, createdAt=None))) == unknown
    assert read_opsgenie(orjson.dumps(opsgenie(action, updatedAt=1_800_000_010_250))) == expected


def test_what_opsgenie_says_of_its_own_and_of_programs() -> None:
    assert read_opsgenie(orjson.dumps(opsgenie("Create"))) == Nothing("unknown_type")
    found = read_opsgenie(orjson.dumps({**opsgenie("Close"), "source": {"name": "", "type": "API"}}))
    assert isinstance(found, Said)
    assert found.it.by_integration


MALFORMED: Sequence[Any] = [
    *(b"", b"\xff", b"NaN", b"[]", b"{}", b"3", b'{"event": 3}', b'{"event": {"event_type": 3}}', b"[" * 100_000),
    pagerduty(at="yesterday"),
    pagerduty(at="2027-01-15T08:00:10"),
    pagerduty(key=3),  # type: ignore[arg-type]
    pagerduty(id=[]),  # type: ignore[arg-type]
    pagerduty(created_at="yesterday"),
    pagerduty(created_at=3),
    {"event": {**pagerduty()["event"], "data": None}},
]


@pytest.mark.parametrize("body", MALFORMED)
def test_what_cannot_be_read_says_so_and_repeats_nothing(body: Any) -> None:
    found = read_pagerduty(body if isinstance(body, bytes) else orjson.dumps(body))
    assert isinstance(found, Malformed)
    assert "yesterday" not in found.reason


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"action": 3}', b'{"action": "Close"}', b'{"action": "Close", "alert": []}',
        *(orjson.dumps(opsgenie("Close", updatedAt=bad)) for bad in (None, True, -1, 0, "1", 1.5, 2**70 * 1.0)),
    ],
)  # fmt: skip
def test_the_same_of_opsgenie(body: bytes) -> None:
    assert isinstance(read_opsgenie(body), Malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["event", "event_type", "data", "agent", "occurred_at", "id", "incident_key", "alert"]))
def test_whatever_stands_there_it_is_read_or_refused(value: Any, at: str) -> None:
    event = pagerduty("incident.resolved")["event"]
    for body in ({"event": {**event, at: value}}, {"event": {**event, "data": {**event["data"], at: value}}}, value):
        assert isinstance(read_pagerduty(orjson.dumps(body)), Said | Nothing | Malformed)
    for body in ({**opsgenie("Close"), at: value, "source": value}, opsgenie("Close", **{at: value})):
        assert isinstance(read_opsgenie(orjson.dumps(body)), Said | Nothing | Malformed)


# whose they are


def test_a_signature() -> None:
    # RFC 4231, test case 2.
    body, secret = b"what do ya want for nothing?", "Jefe"
    right = "v1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign(body, secret) == right
    assert is_signed(body, right, [secret])
    assert is_signed(body, f"v1={'0' * 64},{right}", ["other", secret])
    assert is_signed(body, f"{right}, v1={'0' * 64}", [secret])
    for header in (None, "", "v1=", right[3:], right[:-1], right.upper(), "v0=" + right[3:], "ä", "\udcff"):
        assert not is_signed(body, header, [secret])
    assert not is_signed(body + b" ", right, [secret])
    assert not is_signed(body, right, [])
    assert not is_signed(body, ",".join(["v1="] * 100_000 + [right]), [secret])


def test_a_token_of_client_credentials() -> None:
    ours, now = ClientCredentials("pagerduty", "secret"), 1_800_000_000.5
    token = ours.issue("pagerduty", "secret", now)
    assert token is not None
    another_process = ClientCredentials("pagerduty", "secret")
    assert another_process.allows(f"Bearer {token}", now)
    assert another_process.allows(f"bearer {token}", now + TOKEN_SECONDS - 1)
    assert not another_process.allows(f"Bearer {token}", now + TOKEN_SECONDS + 1)
    assert not ClientCredentials("pagerduty", "other").allows(f"Bearer {token}", now)
    assert ours.issue("pagerduty", "secre", now) is None
    assert ours.issue("pagerdut", "secret", now) is None
    later = f"{int(token.split('.')[0]) + 1}.{token.split('.')[1]}"
    for header in (None, "", token, "Bearer", f"Bearer {later}", "Bearer 1", "Bearer ٣.x", f"Basic {token}"):
        assert not ours.allows(header, now)


def test_somebody_must_be_able_to_say_who_he_is() -> None:
    with pytest.raises(ConfigError, match=r"webhooks: pagerduty\.secrets, opsgenie\.token or jsm\.token"):
        parse_config("webhooks: {enabled: true}", {}, lambda path: "")


# what is answered


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
async def test_a_webhook_is_answered_when_kafka_has_it(secret: str) -> None:
    async with running_webhooks() as webhooks:
        assert await webhooks.pagerduty(secret=secret) == (200, {"outcome": "written"})
        it = Happened(What.ACKNOWLEDGED, AT, "PT4KHLK", opened=OPENED)
        assert webhooks.feedback == [FromProvider("pagerduty", "forbidden_path:s1", it, "Ann")]
        assert webhooks.kafka.records[0].key == b"forbidden_path:s1"
        assert webhooks.count("pagerduty", "written") == 1


@pytest.mark.parametrize("provider", ["opsgenie", "jsm"])
async def test_a_token_as_a_header_or_in_the_address(provider: str) -> None:
    async with running_webhooks() as webhooks:
        assert (await webhooks.post(provider, opsgenie(), BEARER))[0] == 200
        assert (await webhooks.post(provider, opsgenie("Close"), query=f"?token={TOKEN}"))[0] == 200
        assert [(one.provider, one.it.what) for one in webhooks.feedback if isinstance(one, FromProvider)] == [
            (provider, What.ACKNOWLEDGED),
            (provider, What.RESOLVED),
        ]
        for headers, query in (({}, ""), ({}, "?token=x"), ({"Authorization": "Bearer x"}, f"?token={TOKEN}")):
            assert (await webhooks.post(provider, opsgenie(), headers, query=query))[0] == 401
        assert len(webhooks.kafka.records) == 2


async def test_what_is_not_theirs_is_refused_counted_and_not_repeated() -> None:
    body = orjson.dumps(pagerduty())
    async with running_webhooks() as webhooks:
        for headers in ({}, {SIGNATURE: "v1=0"}, {SIGNATURE: sign(body, "wrong")}, {SIGNATURE: sign(b"", SECRET)}):
            status, said, given = await webhooks.post("pagerduty", body, headers)
            assert (status, said) == (401, {"error": "this is none of the provider's webhooks"})
            assert given["Connection"] == "close"
        assert webhooks.kafka.records == []
        assert webhooks.count("pagerduty", "refused") == 4
        assert len(webhooks.log("webhook_refused")) == 1
        status, said, _ = await webhooks.post("elsewhere", body)
        assert (status, said) == (404, {"error": "webhooks are posted to /v1/webhooks/<provider>"})
        async with webhooks.http.get(f"http://127.0.0.1:{webhooks.port}/v1/webhooks/pagerduty") as response:
            assert response.status == 405
        async with webhooks.http.get(f"http://127.0.0.1:{webhooks.port}/healthz") as response:
            assert response.status == 200
        async with webhooks.http.get(f"http://127.0.0.1:{webhooks.port}/metrics") as response:
            assert response.status == 404


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (pagerduty("incident.workflow.started"), "unknown_type"),
        ({"event": {"event_type": "pagey.ping"}}, "ping"),
        (pagerduty("incident.resolved", resolve_reason={"type": "merge_resolve_reason"}), "merge"),
        (pagerduty(key=None), "unmatched"),
        (pagerduty(key="k" * 513), "unmatched"),
        (b"not JSON", "malformed"),
    ],
)
async def test_what_is_theirs_is_never_refused(body: Any, outcome: str) -> None:
    async with running_webhooks() as webhooks:
        assert await webhooks.pagerduty(body) == (200, {"outcome": outcome})
        assert webhooks.kafka.records == []
        assert webhooks.count("pagerduty", outcome) == 1
        if outcome == "malformed":
            assert "not JSON" not in webhooks.written.getvalue()


async def test_a_repeated_webhook_is_written_once() -> None:
    async with running_webhooks() as webhooks:
        assert (await webhooks.pagerduty())[1]["outcome"] == "written"
        assert await webhooks.pagerduty() == (200, {"outcome": "repeated"})
        assert len(webhooks.kafka.records) == 1
        # An id that comes with something else is not trusted to be that.
        assert (await webhooks.pagerduty(pagerduty("incident.resolved")))[1]["outcome"] == "written"


async def test_one_that_is_repeated_while_kafka_is_away_waits_for_the_same_write() -> None:
    kafka = FakeKafka()
    async with running_webhooks(kafka) as webhooks:
        kafka.is_away = True
        both = [asyncio.create_task(webhooks.pagerduty()) for _ in range(2)]
        await wait_until(lambda: any(one._waiting for one in kafka.producers), "it waits")
        kafka.come_back()
        assert [status for status, _ in await asyncio.gather(*both)] == [200, 200]
        assert len(kafka.records) == 1


async def test_what_kafka_does_not_take_in_time_is_to_be_sent_again() -> None:
    kafka = FakeKafka()
    async with running_webhooks(kafka, answer_within=0.1) as webhooks:
        kafka.is_away = True
        status, said = await webhooks.pagerduty()
        assert (status, said["error"]) == (503, "Kafka has not taken this within 0.1 s")
        assert webhooks.count("pagerduty", "unknown") == 1
        kafka.come_back()
        assert await webhooks.pagerduty() == (200, {"outcome": "repeated"})


async def test_nothing_is_received_while_kafka_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    async with running_webhooks(FakeKafka(error=TopicAuthorizationFailedError("feedback"))) as webhooks:
        status, said = await webhooks.pagerduty()
        assert (status, said["error"]) == (503, "Kafka takes nothing now")


async def test_up_to_256_kib_are_taken() -> None:
    empty = len(orjson.dumps(pagerduty(title="")))
    async with running_webhooks() as webhooks:
        assert (await webhooks.pagerduty(pagerduty(title="x" * (LARGEST_BODY - empty))))[0] == 200
        assert (await webhooks.pagerduty(pagerduty(title="x" * (LARGEST_BODY - empty + 1))))[0] == 413


class Looks:
    """Looks up dedup keys in a table."""

    def __init__(self, keys: Sequence[str] | None) -> None:
        self.keys = keys
        self.asked: list[str] = []

    async def dedup_keys(self, incident: str) -> Sequence[str]:
        self.asked.append(incident)
        if self.keys is None:
            raise LookupFailed("503")
        return self.keys


@pytest.mark.parametrize(
    ("keys", "status", "outcome"), [(("a", "b"), 200, "written"), ((), 200, "unmatched"), (None, 503, "unknown")]
)
async def test_an_incident_without_a_key_is_looked_up(keys: Sequence[str] | None, status: int, outcome: str) -> None:
    looks = Looks(keys)
    async with running_webhooks(dedup_keys=looks) as webhooks:
        assert (await webhooks.pagerduty(pagerduty(key=None)))[0] == status
        assert looks.asked == ["PT4KHLK"]
        assert [one.key for one in webhooks.kafka.records] == [key.encode() for key in keys or ()]
        assert webhooks.count("pagerduty", outcome) == 1
        await webhooks.pagerduty(id="w-2")
        assert looks.asked == ["PT4KHLK"]


async def test_a_header_of_ones_own() -> None:
    section = {"header": {"name": "X-Alerting", "value": "sesame-0123456789"}}
    async with running_webhooks(pagerduty=section) as webhooks:
        for value, status in (("sesame-0123456789", 200), ("sesame", 401), (None, 401)):
            headers = {} if value is None else {"x-alerting": value}
            assert (await webhooks.post("pagerduty", pagerduty(), headers))[0] == status


async def test_client_credentials_are_answered_with_401_once_and_then_with_a_token() -> None:
    section = {"secrets": [SECRET], "oauth": {"client_id": "pd", "client_secret": "s3cret-0123456789"}}
    body = orjson.dumps(pagerduty())
    signed = {SIGNATURE: sign(body, SECRET)}
    async with running_webhooks(pagerduty=section) as webhooks:
        status, _, headers = await webhooks.post("pagerduty", body, {**signed, "Authorization": "Bearer over"})
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')

        form = {"grant_type": "client_credentials", "client_id": "pd", "client_secret": "s3cret-0123456789"}
        url = f"http://127.0.0.1:{webhooks.port}/v1/webhooks/oauth/token"
        async with webhooks.http.post(url, data=form) as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
            given = await response.json()
        assert (given["token_type"], given["expires_in"]) == ("Bearer", TOKEN_SECONDS)
        bearer = {"Authorization": f"Bearer {given['access_token']}"}
        assert (await webhooks.post("pagerduty", body, {**signed, **bearer}))[0] == 200
        assert (await webhooks.post("pagerduty", body, bearer))[0] == 401

        basic = {"Authorization": "Basic " + b64encode(b"pd:s3cret-0123456789").decode()}
        async with webhooks.http.post(url, data={"grant_type": "client_credentials"}, headers=basic) as response:
            assert response.status == 200
        for wrong, status in (
            ({**form, "client_secret": "x"}, 401),
            ({**form, "client_id": "x"}, 401),
            ({}, 401),
            ({**form, "grant_type": "password"}, 400),
            ({str(n): "x" for n in range(21)}, 400),
        ):
            async with webhooks.http.post(url, data=wrong) as response:
                assert response.status == status


async def test_without_client_credentials_there_is_no_token() -> None:
    async with running_webhooks() as webhooks:
        url = f"http://127.0.0.1:{webhooks.port}/v1/webhooks/oauth/token"
        async with webhooks.http.post(url, data={"grant_type": "client_credentials"}) as response:
            assert response.status == 404


async def test_two_hundred_that_say_nothing_keep_no_webhook_out() -> None:
    async with running_webhooks() as webhooks:
        silent = [await asyncio.open_connection("127.0.0.1", webhooks.port) for _ in range(220)]
        try:
            async with aiohttp.ClientSession() as http:
                body = orjson.dumps(pagerduty())
                url = f"http://127.0.0.1:{webhooks.port}/v1/webhooks/pagerduty"
                async with http.post(url, data=body, headers={SIGNATURE: sign(body, SECRET)}) as response:
                    assert response.status == 200
        finally:
            for _, writer in silent:
                writer.close()


@asynccontextmanager
async def strangers(port: int, number: int, sent: int, *, host: str = "127.0.0.1") -> AsyncIterator[None]:
    """Connections that make up a signature, and send so many bytes of a body that never ends."""
    writers = []
    try:
        for _ in range(number):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
            head = f"POST /v1/webhooks/pagerduty HTTP/1.1\r\nHost: x\r\n{SIGNATURE}: v1=0\r\n"
            writer.write(f"{head}Content-Length: {LARGEST_BODY}\r\n\r\n".encode() + b" " * sent)
            writers.append(writer)
        for writer in writers:
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(("number", "sent"), [(17, LARGEST_BODY - 1), (40, LARGEST_BODY - 1), (220, 1), (220, 30_000)])
async def test_who_knows_no_secret_keeps_nobody_out_who_does(number: int, sent: int, host: str) -> None:
    async with running_webhooks() as webhooks, strangers(webhooks.port, number, sent, host=host):
        async with asyncio.timeout(2):
            for n in range(3):
                assert (await webhooks.pagerduty(pagerduty(key=f"k-{n}", title="x" * 50_000), id=f"w-{n}"))[0] == 200


async def test_strangers_who_ask_for_a_token_keep_nobody_out() -> None:
    section = {"secrets": [SECRET], "oauth": {"client_id": "pd", "client_secret": "s3cret-0123456789"}}
    async with running_webhooks(pagerduty=section) as webhooks:
        writers = []
        for _ in range(220):
            _, writer = await asyncio.open_connection("127.0.0.1", webhooks.port)
            writer.write(b"POST /v1/webhooks/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")
            writers.append(writer)
        async with asyncio.timeout(2):
            assert (await webhooks.post("opsgenie", opsgenie(), BEARER))[0] == 200
        for writer in writers:
            writer.transport.abort()


async def test_one_who_has_proved_who_he_is_gives_way_to_nobody() -> None:
    kafka = FakeKafka()
    async with running_webhooks(kafka) as webhooks:
        kafka.is_away = True
        posting = asyncio.create_task(webhooks.pagerduty())
        await wait_until(lambda: any(one._waiting for one in kafka.producers), "it waits for Kafka")
        async with strangers(webhooks.port, 220, 20_000):
            kafka.come_back()
            assert (await posting)[0] == 200


BODY = orjson.dumps(pagerduty())


@pytest.mark.parametrize("signed_as_it_came", [True, False])
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        (" x-gzip ", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("gzip,identity,", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("Identity", bytes),
        ("", bytes),
        ("utf-8", bytes),
        ("br", bytes),
        ("gzip", bytes),
        ("gzip, br", bytes),
    ],
)
async def test_a_webhook_is_taken_in_every_encoding_that_can_be_read(
    encoding: str, encode: Callable[[bytes], bytes], signed_as_it_came: bool
) -> None:
    sent = encode(BODY)
    signature = sign(sent if signed_as_it_came else BODY, SECRET)
    async with running_webhooks() as webhooks:
        headers = {SIGNATURE: signature, "Content-Encoding": encoding}
        status, said, _ = await webhooks.post("pagerduty", sent, headers)
        assert (status, said) == (200, {"outcome": "written"})


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [("br", b"\x1b\x03"), ("gzip, gzip", gzip.compress(gzip.compress(BODY))), ("gzip", gzip.compress(bytes(1 << 20)))],
)
async def test_one_whose_encoding_cannot_be_read_is_theirs_all_the_same(encoding: str, sent: bytes) -> None:
    async with running_webhooks() as webhooks:
        headers = {SIGNATURE: sign(sent, SECRET), "Content-Encoding": encoding}
        assert (await webhooks.post("pagerduty", sent, headers))[:2] == (200, {"outcome": "malformed"})
        assert (await webhooks.post("pagerduty", sent, {**headers, SIGNATURE: "v1=0"}))[0] == 401


@pytest.mark.parametrize("fault", [ValueError(SECRET), asyncio.CancelledError(), SystemExit(3), None])
async def test_one_that_we_fail_to_read_holds_up_none_behind_it(
    fault: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(body: bytes) -> Any:
        if fault is not None:
            raise fault

    monkeypatch.setattr("consumer.receivers.webhooks.service.read_pagerduty", read)
    async with running_webhooks() as webhooks:
        assert await webhooks.pagerduty() == (200, {"outcome": "malformed"})
        assert webhooks.count("pagerduty", "malformed") == 1


def test_the_time_of_the_examples() -> None:
    assert datetime.fromisoformat("2027-01-15T08:00:10.250Z").timestamp() == AT
