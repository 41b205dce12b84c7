"""Somebody who listens where a broker should be, and answers a SASL authentication as a test says."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Iterator

from aiokafka.protocol.admin import ApiVersionResponse_v0, SaslAuthenticateResponse_v0, SaslHandShakeResponse_v1

Mechanism = Callable[[bytes], bytes]
"""What is answered to the client's next message."""

_VERSIONS = [(17, 0, 1), (18, 0, 0), (36, 0, 0)]


@contextlib.asynccontextmanager
async def impostor(mechanism: str, new: Callable[[], Mechanism]) -> AsyncIterator[str]:
    """Listen for the length of the block, with a new state of the mechanism for each connection; gives the address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = new()
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                api, _, correlation, client = struct.unpack(">hhih", request[:10])
                body = request[10 + max(0, client) :]
                match api:
                    case 18:
                        response = ApiVersionResponse_v0(0, _VERSIONS)
                    case 17:
                        response = SaslHandShakeResponse_v1(0, [mechanism])
                    case _:
                        response = SaslAuthenticateResponse_v0(0, None, answer(body[4:]))
                encoded = struct.pack(">i", correlation) + response.encode()
                writer.write(struct.pack(">i", len(encoded)) + encoded)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


def saying(*answers: bytes) -> Callable[[], Mechanism]:
    """These answers in order; ``<nonce>`` in one stands for the client's nonce."""

    def new() -> Mechanism:
        left: Iterator[bytes] = iter(answers)
        nonce = b""

        def answer(message: bytes) -> bytes:
            nonlocal nonce
            nonce = nonce or message.rpartition(b",r=")[2]
            return next(left).replace(b"<nonce>", nonce)

        return answer

    return new
