"""Sends requests over HTTP. Whatever happens is returned as an answer: no exception of aiohttp leaves this module.

Error texts are made here and not taken from exceptions: these repeat addresses, and with them a proxy's password.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Final, cast
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from providers.answer import Answer, Rejected, Unavailable
from providers.http_head import KeepingHandler, KeptResponse, UnreadableHead
from providers.notify import Classify
from providers.provider import Request

MAX_FIELD: Final = 64 * 1024
"""The most bytes of one header field, or of the status line, that aiohttp reads; proxies add long fields."""

CONNECT_SECONDS: Final = 10.0
"""The longest wait for a connection, TLS handshake included, in seconds; half the request's time-out if that is
less."""

NEVER_SENT: Final = 0
"""The status of a `Rejected` that no provider sent: the request cannot be written as JSON."""

_KEEPALIVE_SECONDS = 15.0  # less than the idle time-outs of load balancers, so that we close first
_DNS_SECONDS = 60

_CERTAINLY_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    aiohttp.ServerFingerprintMismatch,
)


def create_session(max_in_flight: int) -> aiohttp.ClientSession:
    """A session for ``max_in_flight`` requests at a time. Call this in a running event loop; the caller closes the
    session.

    The session keeps no cookies and never reads ``.netrc``. ``trust_env`` stays off although proxies are used: with it
    aiohttp reads the environment, in two threads, for every request (five times the cost of the request itself).
    `HttpSender` reads it once for each provider.
    """
    connector = aiohttp.TCPConnector(
        limit=max_in_flight,
        limit_per_host=0,
        ttl_dns_cache=_DNS_SECONDS,
        keepalive_timeout=_KEEPALIVE_SECONDS,
    )
    # aiohttp has no public way to set the protocol class of its connections.
    connector._factory = cast("partial[ResponseHandler]", partial(KeepingHandler, loop=asyncio.get_running_loop()))
    return aiohttp.ClientSession(
        connector=connector,
        response_class=KeptResponse,
        max_line_size=MAX_FIELD,
        max_field_size=MAX_FIELD,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "User-Agent": f"clawdstrike-alerting/{version('clawdstrike-alerting')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # the answers are short
        },
        trust_env=False,
    )


def environment_proxy(url: URL) -> URL | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name for this address, if any.

    Raises `ValueError` if the environment names a proxy that is no address.
    """
    proxy = getproxies().get(url.scheme)
    if not proxy or proxy_bypass(url.host or ""):
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")


class HttpSender:
    """Sends requests through a session (see `create_session`). Safe for any number of requests at a time."""

    def __init__(
        self, session: aiohttp.ClientSession, *, proxy_of: Callable[[URL], URL | None] = environment_proxy
    ) -> None:
        self._session = session
        self._proxy_of = proxy_of
        self._proxies: dict[tuple[str, str], URL | None] = {}

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        """Make one request; ``timeout`` is in seconds, from the call to the end of the answer.

        An answer with a status is classified by that, even if the rest of the answer breaks off or cannot be read.
        Without a status the result is `Unavailable`, and ``unknown`` unless the request was certainly not sent.
        Redirects are not followed.

        Raises nothing but `CancelledError`, which drops the connection.
        """
        try:
            body = None if request.body is None else orjson.dumps(request.body)
        except TypeError:  # orjson's error; its text may repeat the body
            return Rejected(NEVER_SENT, "the request cannot be written as JSON")
        headers = request.headers if body is None else {**request.headers, "Content-Type": "application/json"}
        try:
            url = _url(request.url)
            host, proxy = url.host or "the provider", self._proxy(url)
        except ValueError:
            return Unavailable(None, "the address of the provider, or of the proxy to it, cannot be used")
        response: aiohttp.ClientResponse | None = None
        content = bytearray()
        try:
            async with self._session.request(
                request.method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=_client_timeout(timeout),
                proxy=proxy,
            ) as response:
                await _read(response, content, request.largest_answer)
        except UnreadableHead as error:
            head = error.head
            return classify(head.status, head.headers, head.body[: request.largest_answer])
        except Exception as error:  # no list of them is complete, and none may stop the delivery of other alerts
            if response is None:
                return _no_answer(error, host, timeout)
        assert response is not None
        return classify(response.status, response.headers, bytes(content))

    def _proxy(self, url: URL) -> URL | None:
        origin = (url.scheme, url.raw_authority)
        if origin not in self._proxies:
            self._proxies[origin] = self._proxy_of(url)
        return self._proxies[origin]


@lru_cache(maxsize=256)
def _url(text: str) -> URL:
    return URL(text, encoded=True)  # not normalised: an alias may look like a path


@lru_cache(maxsize=16)
def _client_timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds / 2))


async def _read(response: aiohttp.ClientResponse, content: bytearray, limit: int) -> None:
    """Read the body into ``content``, which has what came even if it breaks off; what is beyond ``limit`` bytes is
    left, with its connection."""
    while not response.content.at_eof():
        content += await response.content.readany()
        if len(content) >= limit:
            del content[limit:]
            response.close()
            return


def _no_answer(error: Exception, host: str, timeout: float) -> Unavailable:
    unknown = not isinstance(error, _CERTAINLY_NOT_SENT)
    return Unavailable(None, _reason(error, host, timeout), unknown=unknown)


def _reason(error: Exception, host: str, timeout: float) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection to {host} in time"
        case TimeoutError():
            return f"no answer from {host} within {timeout:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {host} is not trusted: {_certificate_error(error.certificate_error)}"
        case aiohttp.ClientProxyConnectionError():
            return f"cannot connect to the proxy for {host}: {_system_error(error.os_error)}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses the connection to {host}: HTTP {error.status}"
        case aiohttp.ClientConnectorDNSError():
            return f"cannot resolve {host}: {_system_error(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {host}: {_system_error(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return f"{host} closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return f"{host} did not answer in HTTP"
        case OSError():
            return f"the connection to {host} broke off: {_system_error(error)}"
        case _:
            return f"the request to {host} failed: {type(error).__name__}"


def _system_error(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return error.strerror or type(error).__name__


def _certificate_error(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
