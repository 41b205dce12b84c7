"""Why a request is not taken: a status, one sentence, and what the sender should do."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

RETRY_SECONDS: Final = 5
"""After which a sender should try again. (Senders have waits of their own; few read this.)"""


class Refused(Exception):
    """The request ends here. Its text is for the sender, and has nothing of what others have sent, or of a token.

    ``closes``: what may still come on this connection is not read.
    """

    def __init__(self, status: int, text: str, *, closes: bool = False, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.closes = closes
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The answer."""
        response = line(self.status, {"error": str(self)}, self.headers)
        if self.closes:
            response.force_close()
        return response


def unauthorized() -> Refused:
    """Without one of the tokens."""
    return Refused(
        401, "a bearer token is required, and this is none of ours", closes=True, headers={"WWW-Authenticate": "Bearer"}
    )


def busy(why: str, *, closes: bool = False) -> Refused:
    """Nothing is wrong with the request; it is to be sent again."""
    return Refused(503, why, closes=closes, headers={"Retry-After": str(RETRY_SECONDS)})


def too_large(limit: int) -> Refused:
    """The body is larger than this many bytes, before or after it is decompressed."""
    return Refused(413, f"a body has at most {limit} bytes, also decompressed", closes=True)


def line(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of one line of JSON."""
    return web.Response(
        status=status,
        body=orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
