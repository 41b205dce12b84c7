"""Refusals of requests: a status, one sentence, and what the sender should do."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

RETRY_SECONDS: Final = 5
"""After so many seconds a sender should try again. (Most senders use their own waits instead.)"""


class RequestRefused(Exception):
    """The request is refused. The text is for the sender; it has nothing of other senders' data, or of a token.

    ``closes``: the connection is closed, and further bytes on it are not read.
    """

    def __init__(self, status: int, text: str, *, closes: bool = False, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.closes = closes
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The HTTP response."""
        response = line(self.status, {"error": str(self)}, self.headers)
        if self.closes:
            response.force_close()
        return response


def unauthorized() -> RequestRefused:
    """The answer to a request that has none of our tokens."""
    return RequestRefused(
        401, "a bearer token is required, and this is none of ours", closes=True, headers={"WWW-Authenticate": "Bearer"}
    )


def busy(why: str, *, closes: bool = False) -> RequestRefused:
    """The request cannot be served now, for the reason ``why``, and should be sent again."""
    return RequestRefused(503, why, closes=closes, headers={"Retry-After": str(RETRY_SECONDS)})


def too_large(limit: int) -> RequestRefused:
    """The body is larger than this many bytes, before or after it is decompressed."""
    return RequestRefused(413, f"a body has at most {limit} bytes, also decompressed", closes=True)


def line(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of one line of JSON."""
    return web.Response(
        status=status,
        body=orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
