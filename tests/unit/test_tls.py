"""TLS to the brokers: files that are replaced are those of the next connection, once they fit together."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiokafka.conn import AIOKafkaConnection
from cryptography.hazmat.primitives import serialization

from consumer.config import KafkaConfig, SecurityConfig
from consumer.kafka.clients import KafkaClients
from consumer.kafka.tls import CertificateFiles, RenewingContext, UnusableFiles
from tests.support.certificates import Files, issued_to_client
from tests.support.log import RecordedLog


class Server:
    """A TLS server that asks for a certificate, and keeps the names on those that it was shown."""

    def __init__(self, authority: trustme.CA) -> None:
        self.seen: list[str] = []
        self.port = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.present(authority)

    def present(self, authority: trustme.CA) -> None:
        """Have a certificate of this authority, and trust those that it issued (and the earlier ones)."""
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert")
        self.seen.append(dict(pair[0] for pair in certificate["subject"])["commonName"])
        writer.write(b"seen")
        await writer.drain()
        writer.close()


async def _connect(server: Server, context: ssl.SSLContext) -> str:
    """Make a connection, and say by which certificate it was made."""
    reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    try:
        assert await reader.read() == b"seen"
    finally:
        writer.close()
    return server.seen[-1]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    files = Files(tmp_path)
    files.put(authority, issued_to_client(authority, "first"))
    return files


def _context(files: Files, log: RecordedLog | None = None) -> RenewingContext:
    paths = CertificateFiles(ca_file=str(files.ca), cert_file=str(files.cert), key_file=str(files.key))
    return RenewingContext(paths, log)


async def test_a_certificate_that_was_replaced_is_shown_at_the_next_connection(
    files: Files, authority: trustme.CA
) -> None:
    log = RecordedLog()
    async with Server(authority).running() as server:
        context = _context(files, log)
        assert [await _connect(server, context) for _ in range(2)] == ["first", "first"]
        assert log.lines == []
        for name in ("second", "third"):  # as fast as it goes: within a tick of the file system's clock
            files.put(authority, issued_to_client(authority, name))
            assert await _connect(server, context) == name
        assert log.events() == ["certificates_renewed"] * 2


async def test_a_key_and_a_certificate_that_are_no_pair_yet_are_not_taken(files: Files, authority: trustme.CA) -> None:
    log, second = RecordedLog(), issued_to_client(authority, "second")
    async with Server(authority).running() as server:
        context = _context(files, log)
        files.put_key(second)
        assert [await _connect(server, context) for _ in range(3)] == ["first"] * 3
        ((_, event, fields),) = log.lines
        assert event == "certificates_unusable"
        assert fields["error"].startswith("kafka.security: the certificate files cannot be used: ")
        files.cert.unlink()
        assert await _connect(server, context) == "first"
        files.cert.write_bytes(second.cert_chain_pems[0].bytes()[:-50])
        assert await _connect(server, context) == "first"
        files.put_certificate(second)
        assert await _connect(server, context) == "second"
        events = log.events()
        assert events == [*["certificates_unusable"] * 3, "certificates_renewed"]


async def test_what_could_not_be_read_for_a_moment_is_tried_again(
    files: Files, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server(authority).running() as server:
        context = _context(files)
        files.put(authority, issued_to_client(authority, "second"))

        def fail(files: CertificateFiles, context: ssl.SSLContext) -> ssl.SSLContext:
            raise UnusableFiles("too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(CertificateFiles, "renew", fail)
            assert await _connect(server, context) == "first"
        assert await _connect(server, context) == "second"


async def test_an_authority_that_was_replaced_is_trusted_and_the_old_one_no_longer(
    files: Files, authority: trustme.CA
) -> None:
    new = trustme.CA()
    async with Server(authority).running() as old_server, Server(new).running() as new_server:
        context = _context(files)
        assert await _connect(old_server, context) == "first"
        with pytest.raises(ssl.SSLCertVerificationError):
            await _connect(new_server, context)
        files.put(new, issued_to_client(new, "second"))
        assert await _connect(new_server, context) == "second"
        with pytest.raises(ssl.SSLCertVerificationError):
            await _connect(old_server, context)


async def test_with_the_authorities_of_the_system_only_the_pair_is_read_again(
    files: Files, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))  # of this system, the only one
    second = issued_to_client(authority, "second")
    async with Server(authority).running() as server:
        context = RenewingContext(CertificateFiles(ca_file=None, cert_file=str(files.cert), key_file=str(files.key)))
        system = context._inner
        assert await _connect(server, context) == "first"
        files.put_key(second)
        assert await _connect(server, context) == "first"
        files.put_certificate(second)
        assert await _connect(server, context) == "second"
        assert context._inner is system


async def test_the_host_of_a_broker_is_checked(files: Files, authority: trustme.CA) -> None:
    async with Server(authority).running() as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname"):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=_context(files), server_hostname="example.com")


async def test_connections_of_the_kafka_client_are_made_so(
    files: Files, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(connection: AIOKafkaConnection) -> None: ...

    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", nothing)
    config = KafkaConfig(security=SecurityConfig.model_validate(files.settings))
    clients = KafkaClients(config)
    async with Server(authority).running() as server:
        for name in ("first", "second"):
            files.put(authority, issued_to_client(authority, name))
            connection = AIOKafkaConnection(
                "localhost",
                server.port,
                ssl_context=clients.admin()._client._ssl_context,
                security_protocol="SSL",
            )
            reader, _ = await connection.connect()
            await reader.read()
            await connection.close()
            assert server.seen[-1] == name


def test_an_encrypted_key_is_refused_and_nobody_is_asked(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    files.key.write_bytes(encrypted)
    with pytest.raises(UnusableFiles, match=r"kafka\.security\.key_file: the key is encrypted"):
        _context(files)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_files_that_cannot_be_used_are_one_line(files: Files, name: str, content: bytes | None) -> None:
    path: Path = getattr(files, name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableFiles) as caught:
        _context(files)
    assert str(caught.value).startswith("kafka.security: the certificate files cannot be used: ")
    assert len(str(caught.value).splitlines()) == 1


def test_without_files_the_authorities_of_the_system_are_trusted() -> None:
    context = RenewingContext(CertificateFiles(ca_file=None, cert_file=None, key_file=None))
    assert context._inner.verify_mode is ssl.CERT_REQUIRED
    assert context._inner.check_hostname
