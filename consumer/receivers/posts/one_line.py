"""Every answer of a receiver is one line, also what is none of its addresses, and a fault."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from structlog.typing import FilteringBoundLogger

from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.refusal import RequestRefused


def one_line(connections: Connections, log: FilteringBoundLogger, elsewhere: str) -> Middleware:
    """What stands around every handler. ``elsewhere`` is said about an address that is not there."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connections.of(request)
        try:
            return await handler(request)
        except RequestRefused as refused:
            return refused.response()
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return RequestRefused(405, f"only {allowed} here", closes=True, headers={"Allow": allowed}).response()
        except web.HTTPException as error:
            return RequestRefused(error.status, elsewhere, closes=True).response()
        except Exception as error:  # a fault of ours
            log.error("receiver_failed", exc_info=error)
            return RequestRefused(500, "a fault of this service: its log says more", closes=True).response()
        finally:
            connections.ended(connection)

    return around
