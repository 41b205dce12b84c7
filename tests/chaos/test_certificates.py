"""A client that shows the certificate that was replaced is turned away; one that has read the files again is not."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.demo.broker import free_port
from tests.chaos.setting import Certificates
from tests.support.certificates import Authority
from tests.support.proxy import KafkaProxy, kafka_proxy

REQUEST = struct.pack(">ih", 4, 18) + b"ab"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    found = Certificates(Authority(tmp_path))
    found.change()
    return found


@pytest.fixture
async def proxy(certificates: Certificates) -> AsyncIterator[tuple[KafkaProxy, int]]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as broker:
        behind, port = broker.sockets[0].getsockname()[1], free_port()
        async with kafka_proxy(port, behind, ssl_context=certificates.context_of_proxies()) as proxy:
            yield proxy, port


def context(certificates: Certificates) -> ssl.SSLContext:
    """What a client has read of the files."""
    found = ssl.create_default_context(cafile=str(certificates.authority.ca_file))
    found.load_cert_chain(*certificates.files)
    return found


async def passes(port: int, context: ssl.SSLContext) -> bool:
    """Whether a request comes back through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(REQUEST)
        return await asyncio.wait_for(reader.read(100), 5) == REQUEST
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_who_shows_the_old_one_is_turned_away(certificates: Certificates, proxy: tuple[KafkaProxy, int]) -> None:
    served, port = proxy
    old, old_name = context(certificates), certificates.name
    assert await passes(port, old)
    certificates.change()
    assert await passes(port, old)
    served.revoked.add(old_name)
    assert not await passes(port, old)
    assert served.turned_away == [old_name]
    assert await passes(port, context(certificates))
    assert served.turned_away == [old_name]


async def test_who_shows_none_does_not_come_in(certificates: Certificates, proxy: tuple[KafkaProxy, int]) -> None:
    without = ssl.create_default_context(cafile=str(certificates.authority.ca_file))
    with contextlib.suppress(ssl.SSLError):  # when the answer to the handshake is read first
        assert not await passes(proxy[1], without)
    assert proxy[0].turned_away == []
