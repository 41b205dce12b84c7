"""The receivers over TLS: certificate files that are replaced while it runs, and who never ends a handshake."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consumer.kafka.tls import UnusableFiles
from consumer.receivers.posts import tls as tls_module
from consumer.receivers.posts.connections import Connection
from tests.support.certificates import Authority
from tests.support.events import event
from tests.support.ingest import Ingest, running_ingest
from tests.support.waiting import wait_until
from tests.support.webhooks import running_webhooks

pytestmark = pytest.mark.slow


class Files:
    """The two files of a server, and the authority that has issued them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self.trust = ssl.create_default_context(cafile=str(self.authority.ca_file))

    def issue(self, name: str) -> None:
        self.authority.issue(name, self.cert, self.key)

    @property
    def settings(self) -> dict[str, str]:
        return {"cert_file": str(self.cert), "key_file": str(self.key)}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.issue("first")
    return made


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has closed the connection, in whichever way."""
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionError:
        return True


@asynccontextmanager
async def running(files: Files, **settings: Any) -> AsyncIterator[Ingest]:
    async with running_ingest(trust=files.trust, tls=files.settings, **settings) as ingest:
        yield ingest


async def presented(ingest: Ingest, files: Files) -> str:
    """The name in the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", ingest.port, ssl=files.trust)
    names = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])
    writer.transport.abort()
    return str(names["commonName"])


async def test_events_are_taken_over_tls(files: Files) -> None:
    async with running(files) as ingest:
        assert (await ingest.post(event()))[0] == 200
        assert (await ingest.post([event(reason="x" * 50_000) for _ in range(15)]))[1]["written"] == 15
        assert (await ingest.post(event(), token=None))[0] == 401
        assert len(ingest.kafka.values()) == 16


async def test_of_one_connection_not_much_is_read_at_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def received(self: Connection, data: bytes) -> None:
        sizes.append(len(data))
        receive_it(self, data)

    receive_it = Connection.data_received
    monkeypatch.setattr(Connection, "data_received", received)
    async with running(files) as ingest:
        assert (await ingest.post([event(reason="x" * 200_000) for _ in range(4)]))[0] == 200
    assert max(sizes) <= 64 * 1024


async def test_what_comes_with_the_end_of_the_handshake_is_not_lost(files: Files) -> None:
    async with running(files) as ingest:
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port, ssl=files.trust)
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(5):
                assert (await reader.read()).startswith(b"HTTP/1.0 200 ")
            writer.transport.abort()


async def test_files_that_are_replaced_are_used_once_they_fit_together(files: Files) -> None:
    async with running(files) as ingest:
        assert await presented(ingest, files) == "first"
        old = files.cert.read_bytes()
        files.issue("second")
        new = files.cert.read_bytes()
        files.cert.write_bytes(old)  # the key is there, and its certificate not yet
        assert await presented(ingest, files) == "first"
        assert len(ingest.log("certificates_unusable")) == 1
        files.cert.write_bytes(new)
        assert await presented(ingest, files) == "second"
        assert len(ingest.log("certificates_renewed")) == 1
        assert (await ingest.post(event()))[0] == 200


async def test_who_never_ends_a_handshake_keeps_nobody_out(files: Files) -> None:
    async with running(files, max_connections=20) as ingest:
        silent = [await asyncio.open_connection("127.0.0.1", ingest.port) for _ in range(60)]
        for _, writer in silent[30:]:
            writer.write(b"\x16\x03\x01\x02\x00\x01")
        await wait_until(lambda: 0 < ingest.metric("connections") <= 20, "no more than so many")
        for _ in range(5):
            assert await presented(ingest, files) == "first"
            assert (await ingest.post(event()))[0] == 200
        for _, writer in silent:
            writer.transport.abort()
        await wait_until(lambda: ingest.metric("connections") <= 1, "they are gone")


async def test_a_handshake_has_its_time(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "HANDSHAKE_SECONDS", 0.2)
    async with running(files) as ingest:
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        assert await ended(reader)
        writer.close()


@pytest.mark.parametrize("sent", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100])
async def test_what_is_no_tls_is_closed_and_troubles_nobody(files: Files, sent: bytes) -> None:
    async with running(files) as ingest:
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        writer.write(sent)
        async with asyncio.timeout(5):
            try:
                answer = await reader.read()
            except ConnectionError:
                answer = b""
        assert b"HTTP" not in answer
        writer.close()
        assert (await ingest.post(event()))[0] == 200


async def test_it_ends_with_handshakes_under_way(files: Files) -> None:
    async with running(files) as ingest:
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        await wait_until(lambda: ingest.metric("connections") >= 2, "it is there")
    assert await ended(reader)
    writer.close()


async def test_files_that_cannot_be_used_are_told_at_start(files: Files) -> None:
    files.key.write_text("no key")
    with pytest.raises(UnusableFiles, match=r"^ingest\.tls: the certificate files cannot be used: "):
        async with running(files):
            pass


async def test_webhooks_are_taken_over_tls_too(files: Files) -> None:
    async with running_webhooks(tls=files.settings, trust=files.trust) as webhooks:
        assert await webhooks.pagerduty() == (200, {"outcome": "written"})
        assert (await webhooks.pagerduty(secret="of-somebody-else"))[0] == 401
