"""Reads the head of an HTTP answer that aiohttp cannot read: the status, and the fields that are beyond doubt.

If a proxy on the way adds a field twice, or one that is too long, aiohttp raises an error for the whole answer. But the
provider has acted, and the status says how. If that counted as an outage, an accepted request would be sent again for
ever. So each connection keeps the beginning of what it receives, and where aiohttp gives up, the status line decides.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict, CIMultiDictProxy

KEPT: Final = 128 * 1024
"""How many bytes of an answer are kept until aiohttp has read its head."""

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Head:
    """The readable part of a head; ``body`` are the bytes that had come after the head."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class UnreadableHead(aiohttp.ClientError):
    """An answer has come that aiohttp could not read, but its status is known. ``head`` is its readable part."""

    def __init__(self, head: Head) -> None:
        super().__init__(f"HTTP {head.status}, and a head that cannot be read")
        self.head = head


def read_head(received: bytes) -> Head | None:
    """The head with which ``received`` begins, after interim answers (1xx); None without a whole status line.

    A malformed field is left out, and so is a field that came twice with different values.
    """
    while status := _STATUS.match(received):
        end = _END.search(received, status.end() - 2)
        if int(status[1]) >= 200:
            # Bytes without a line break at their end may be half a field.
            fields_end = received.rfind(b"\n") if end is None else end.start()
            body = b"" if end is None else received[end.end() :]
            return Head(int(status[1]), _headers(received[status.end() : fields_end]), body)
        if end is None:
            return None
        received = received[end.end() :]
    return None


def _headers(fields: bytes) -> CIMultiDictProxy[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in _plain_fields(fields):
        headers.add(name, value)
    for name in {name for name in headers if len(set(headers.getall(name))) > 1}:
        del headers[name]
    return CIMultiDictProxy(headers)


def _plain_fields(fields: bytes) -> Iterator[tuple[str, str]]:
    for line in fields.split(b"\n"):
        name, colon, value = line.partition(b":")
        text = value.strip(b" \t\r").decode("latin-1")
        if colon and _NAME.fullmatch(name) and text.isascii() and text.isprintable():
            yield name.decode(), text


class KeepingHandler(ResponseHandler):
    """aiohttp's protocol of a connection, which also keeps the beginning of the answer that is being read."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.kept: bytearray | None = None

    def set_response_params(self, **params: Any) -> None:
        """Called by the session before each request: bytes that come from now on are its answer."""
        self.kept = bytearray()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Called by the connection. Keeps the bytes, then lets aiohttp read them."""
        if self.kept is not None and len(self.kept) < KEPT:
            self.kept += data[: KEPT - len(self.kept)]
        super().data_received(data)


class KeptResponse(aiohttp.ClientResponse):
    """aiohttp's response, whose status is reported also if the rest of its head cannot be read: by `UnreadableHead`."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Called by the session: read the head.

        Raises `UnreadableHead` if aiohttp could not read the head but the status is known, else aiohttp's error.
        """
        protocol = connection.protocol
        try:
            return await super().start(connection)
        except Exception as error:
            head = read_head(bytes(protocol.kept or b""))
            if head is None:
                raise
            raise UnreadableHead(head) from error
        finally:
            protocol.kept = None
