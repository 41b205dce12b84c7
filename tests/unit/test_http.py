"""The HTTP edge against real servers on loopback: whatever happens there comes back as an answer."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import client_proto, web
from aiohttp.http_parser import HttpResponseParserPy
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.http import NEVER_SENT, HttpSender, create_session, environment_proxy
from providers.http_head import read_head
from providers.notification import AlertSummary, Trigger
from providers.notify import deliver
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.provider import MAX_ANSWER, Request
from state.violation import Severity, Violation

SECRET = "0f1e2d3c-opsgenie-key"
BODY = {"routing_key": SECRET, "text": "ä"}
HEADERS = {"Authorization": f"GenieKey {SECRET}"}

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Seen:
    """A classifier that keeps what it was given."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""

    def __call__(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        self.status, self.body = status, body
        return Accepted() if status == 202 else Rejected(status, "")


@asynccontextmanager
async def _talking(talk: Talk) -> AsyncIterator[str]:
    """A server that says what it likes, once a whole request has come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/alerts"
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(length)


def _saying(*pieces: bytes, hang: bool = False, reset: bool = False) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)  # or the client sees all the pieces as one
        if hang:
            await asyncio.sleep(30)
        if reset:
            writer.transport.abort()

    return talk


async def _send(url: str, seen: _Seen, timeout: float = 5.0, session: aiohttp.ClientSession | None = None) -> Answer:
    async with session or create_session(4) as session:
        answer = await HttpSender(session, proxy_of=lambda url: None).send(
            Request("POST", url, HEADERS, BODY), seen, timeout
        )
    assert SECRET not in repr(answer)
    return answer


async def test_a_request_arrives_as_it_was_made() -> None:
    arrived: list[tuple[str, Mapping[str, str], bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        arrived.append((request.raw_path, request.headers, await request.read()))
        response = web.json_response({"result": "ok"}, status=202)
        response.set_cookie("session", "1")
        return response

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    path = "/v2/alerts/a%2Fb%20%C3%A4%252F%2E%2E/close?identifierType=alias"
    seen = _Seen()
    async with create_session(4) as session:
        sender = HttpSender(session, proxy_of=lambda url: None)
        for request in (
            Request("POST", f"http://127.0.0.1:{port}{path}", HEADERS, BODY),
            Request("GET", f"http://127.0.0.1:{port}{path}"),
        ):
            assert await sender.send(request, seen, 5.0) == Accepted()
    await runner.cleanup()
    assert orjson.loads(seen.body) == {"result": "ok"}
    (raw_path, headers, body), (_, get_headers, get_body) = arrived
    assert raw_path == path
    assert orjson.loads(body) == BODY
    assert headers["Authorization"] == HEADERS["Authorization"]
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("clawdstrike-alerting/")
    assert "Cookie" not in get_headers
    assert "Authorization" not in get_headers
    assert get_body == b""


async def test_no_answer_in_time_may_still_land() -> None:
    seen = _Seen()
    async with _talking(_saying(hang=True)) as url:
        answer = await _send(url, seen, timeout=0.2)
    assert answer == Unavailable(None, "no answer from 127.0.0.1 within 0.2 s", unknown=True)
    assert seen.status is None


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (_saying(), "127.0.0.1 closed the connection without an answer"),
        (_saying(b"HTTP/1.1 20"), "127.0.0.1 closed the connection without an answer"),
        (_saying(b"\x16\x03\x01 garbage\r\n\r\n"), "127.0.0.1 did not answer in HTTP"),
        (_saying(b"SMTP/1.1 202 OK\r\n\r\n"), "127.0.0.1 did not answer in HTTP"),
        (_saying(b"HTTP/1.1 2O2 OK\r\n\r\n"), "127.0.0.1 did not answer in HTTP"),
    ],
)
async def test_an_answer_that_is_none_may_still_land(talk: Talk, reason: str) -> None:
    async with _talking(talk) as url:
        assert await _send(url, _Seen()) == Unavailable(None, reason, unknown=True)


async def test_a_connection_that_is_reset_may_still_land() -> None:
    async with _talking(_saying(reset=True)) as url:
        answer = await _send(url, _Seen())
    assert isinstance(answer, Unavailable)
    assert (answer.status, answer.unknown) == (None, True)


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        answer = await _send(url, _Seen())
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith("cannot connect to 127.0.0.1: ")
    assert (answer.status, answer.unknown) == (None, False)


async def test_a_name_that_does_not_resolve_was_certainly_not_sent() -> None:
    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            raise OSError(None, "Name or service not known")

        async def close(self) -> None: ...

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere()))
    answer = await _send("https://api.invalid/v2/alerts", _Seen(), session=session)
    assert answer == Unavailable(None, "cannot resolve api.invalid: Name or service not known")


async def test_a_tls_handshake_that_fails_was_certainly_not_sent() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with _talking(plain) as url:
        answer = await _send(url.replace("http:", "https:"), _Seen())
    assert isinstance(answer, Unavailable)
    assert not answer.unknown
    assert answer.reason.startswith("cannot connect to 127.0.0.1: ")


async def test_a_tls_handshake_that_hangs_was_certainly_not_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with _talking(silent) as url:
        answer = await _send(url.replace("http:", "https:"), _Seen(), timeout=0.4)
    assert answer == Unavailable(None, "no connection to 127.0.0.1 in time")


@pytest.mark.parametrize("url", ["http://[broken/", "not an address", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_an_address_that_is_none_is_an_outage(url: str) -> None:
    answer = await _send(url, _Seen())
    assert isinstance(answer, Unavailable)
    assert not answer.unknown


async def test_a_redirect_is_not_followed() -> None:
    seen = _Seen()
    async with _talking(
        _saying(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    ) as url:
        await _send(url, seen)
    assert seen.status == 307


@pytest.mark.slow
@pytest.mark.parametrize(
    "talk",
    [
        _saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", b"{"),
        _saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", b"{", hang=True),
        _saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", b"{", reset=True),
        _saying(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\nnonsense"),
        _saying(b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", b"{no}"),
    ],
)
async def test_the_status_decides_when_the_body_cannot_be_read(talk: Talk) -> None:
    seen = _Seen()
    async with _talking(talk) as url:
        assert await _send(url, seen, timeout=0.5) == Accepted()
    assert seen.body in (b"", b"{")


_DATE = b"Date: Thu, 26 Nov 2026 03:00:00 GMT\r\n"


@pytest.fixture(params=["C", "Python"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of aiohttp: the one in C, and the one where its wheel has none."""
    if request.param == "Python":
        monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", HttpResponseParserPy)
    else:
        used: Any = client_proto  # it has its parser from elsewhere, and is the one whose parser counts
        assert used.HttpResponseParser is not HttpResponseParserPy


@pytest.mark.parametrize(
    "fields",
    [
        b"X: " + b"x" * 9_000 + b"\r\n",
        b"X: " + b"x" * 60_000 + b"\r\n",
        b"X: " + b"x" * 80_000 + b"\r\n",
        b"".join(b"X-%d: x\r\n" % number for number in range(300)),
        b"Content-Length: 2\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: two\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Type: text/plain\r\nContent-Type: text/plain\r\n",
        b"Server: a\r\nServer: b\r\n",
        b"X: a\x00b\r\n",
        b"no field\r\n",
        b" : nameless\r\n",
    ],
    ids=lambda fields: fields[:24].decode().strip(),
)
@pytest.mark.usefixtures("_parser")
async def test_whatever_a_proxy_makes_of_the_head_the_status_decides(fields: bytes) -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await _request(reader)
        asked += 1
        writer.write(b"HTTP/1.1 202 Accepted\r\n" + _DATE + b"Content-Length: 2\r\n" + fields + b"\r\n{}")
        await writer.drain()

    pagerduty = PagerDuty(PagerDutySettings.model_validate({"routing_key": "0" * 32}))
    async with _talking(talk) as url, create_session(4) as session:
        sender = HttpSender(session, proxy_of=lambda url: None)
        answer = await sender.send(Request("POST", url, HEADERS, BODY), pagerduty.classify, 5.0)
    assert asked == 1
    assert answer == Accepted(date=1795662000.0)


@pytest.mark.usefixtures("_parser")
async def test_what_a_refusal_says_is_read_behind_a_head_that_cannot_be() -> None:
    twice = b"Content-Length: 22\r\n" * 2
    seen = _Seen()
    async with _talking(_saying(b"HTTP/1.1 400 Bad Request\r\n" + twice + b"\r\nInvalid routing key ok")) as url:
        assert await _send(url, seen) == Rejected(400, "")
    assert seen.body == b"Invalid routing key ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    "talk",
    [
        _saying(b"HTTP/1.1 202 Accepted\r\n"),
        _saying(b"HTTP/1.1 202 Accepted\r\nX: ", reset=True),
        _saying(b"HTTP/1.1 202 Accepted\r\nX: ", hang=True),
        _saying(
            b"HTTP/1.1 103 Early Hints\r\nX: x\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n", b": x\r\n\r\n"
        ),
    ],
)
@pytest.mark.usefixtures("_parser")
async def test_the_status_decides_when_the_head_breaks_off(talk: Talk) -> None:
    seen = _Seen()
    async with _talking(talk) as url:
        assert await _send(url, seen, timeout=0.5) == Accepted()


@pytest.mark.usefixtures("_parser")
async def test_a_connection_is_used_again_and_each_answer_stands_for_itself() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for status in (202, 400, 202):
            await _request(reader)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        await _request(reader)
        writer.write(b"HTTP/1.1 nonsense\r\n\r\n")

    async with _talking(talk) as url, create_session(4) as session:
        sender = HttpSender(session, proxy_of=lambda url: None)
        request = Request("POST", url, HEADERS, BODY)
        answers = [await sender.send(request, _Seen(), 5.0) for _ in range(4)]
    unread = Unavailable(None, "127.0.0.1 did not answer in HTTP", unknown=True)
    assert answers == [Accepted(), Rejected(400, ""), Accepted(), unread]
    assert connections == 1


def test_a_head_is_read_field_by_field() -> None:
    head = read_head(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow down\nRetry-After: 7 \r\nX: a\r\nx: b\r\nb\xe4d: x\r\n"
        b"Y: \xe4\r\nDate: \tnow\r\n\r\nbody\r\n\r\n"
    )
    assert head is not None
    assert (head.status, dict(head.headers), head.body) == (429, {"Retry-After": "7", "Date": "now"}, b"body\r\n\r\n")


@pytest.mark.parametrize("received", [b"", b"HTTP/1.1 202", b"HTTP/1.1 202 OK", b"HTTP/1.1 100 Continue\r\n", b"\r\n"])
def test_without_a_whole_status_line_there_is_no_head(received: bytes) -> None:
    assert read_head(received) is None


def test_half_a_field_is_none() -> None:
    head = read_head(b"HTTP/1.1 503 Away\r\nDate: now\r\nRetry-After: 36")
    assert head is not None
    assert dict(head.headers) == {"Date": "now"}


@given(received=st.binary() | st.binary().map(lambda rest: b"HTTP/1.1 202 OK\r\n" + rest))
def test_any_bytes_make_a_head_or_none(received: bytes) -> None:
    head = read_head(received)
    assert head is not None or not received.startswith(b"HTTP/1.1 202 OK\r\n")
    if head is not None:
        assert 200 <= head.status <= 999
        assert all(name.isascii() and value.isprintable() for name, value in head.headers.items())


async def test_an_endless_body_is_read_to_a_limit() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 202 Accepted\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    seen = _Seen()
    async with _talking(endless) as url:
        assert await _send(url, seen) == Accepted()
    assert seen.body == b"x" * MAX_ANSWER


async def test_a_body_that_is_no_json_is_rejected_without_being_repeated() -> None:
    async with create_session(4) as session:
        request = Request("POST", "http://127.0.0.1:1/", HEADERS, {SECRET: object(), "text": "\ud800"})
        answer = await HttpSender(session).send(request, _Seen(), 1.0)
    assert answer == Rejected(NEVER_SENT, "the request cannot be written as JSON")


async def test_cancellation_passes() -> None:
    async with _talking(_saying(hang=True)) as url:
        sending = asyncio.create_task(_send(url, _Seen()))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_proxy_that_fails_does_not_show_its_password() -> None:
    proxy = URL("http://user:hunter2@127.0.0.1:1")
    async with create_session(4) as session:
        answer = await HttpSender(session, proxy_of=lambda url: proxy).send(
            Request("POST", "https://api.opsgenie.com/v2/alerts", HEADERS, BODY), _Seen(), 5.0
        )
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith("cannot connect to the proxy for api.opsgenie.com: ")
    assert "hunter2" not in repr(answer)
    assert not answer.unknown


async def test_a_proxy_that_refuses_was_certainly_not_sent() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    async with _talking(refuse) as proxy, create_session(4) as session:
        answer = await HttpSender(session, proxy_of=lambda url: URL(proxy).origin()).send(
            Request("POST", "https://api.opsgenie.com/v2/alerts", HEADERS, BODY), _Seen(), 5.0
        )
    assert answer == Unavailable(None, "the proxy refuses the connection to api.opsgenie.com: HTTP 407")


def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert environment_proxy(URL("https://api.opsgenie.com")) is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "pagerduty.com")
    assert environment_proxy(URL("https://api.opsgenie.com")) == URL("http://proxy.example:3128")
    assert environment_proxy(URL("https://events.pagerduty.com")) is None
    assert environment_proxy(URL("http://127.0.0.1:8080")) is None


@pytest.mark.parametrize(
    ("statuses", "urls", "expected"),
    [
        ([202, 202, 202, 202], ["alerts", "priority", "tags", "notes"], Accepted()),
        ([202, 503], ["alerts", "priority"], Unavailable(503, "HTTP 503")),
        ([422], ["alerts"], Rejected(422, "HTTP 422")),
    ],
)
async def test_a_notification_stops_at_the_first_answer_that_is_not_accepted(
    statuses: list[int], urls: list[str], expected: Answer
) -> None:
    class Scripted:
        def __init__(self) -> None:
            self.urls: list[str] = []

        async def send(
            self, request: Request, classify: Callable[[int, Mapping[str, str], bytes], Answer], timeout: float
        ) -> Answer:
            self.urls.append(URL(request.url).name)
            return classify(statuses[len(self.urls) - 1], {}, b"")

    of = Violation(
        event_id="e",
        event_type="guard_block",
        timestamp="2026-05-20T14:00:00Z",
        guard="g",
        severity=Severity.HIGH,
        reason="r",
        allowed=False,
        agent_id="a",
        session_id="s",
        resource_type="file",
        resource_name="n",
    )
    raised = Trigger("k", of, Severity.CRITICAL, AlertSummary(2, 0.0, 1.0, Severity.CRITICAL), again=True, raised=True)
    provider = OpsGenie(OpsGenieSettings.model_validate({"api_key": SECRET}))
    sender = Scripted()
    assert await deliver(sender, provider, "default", raised, 5.0) == expected
    assert sender.urls == urls
