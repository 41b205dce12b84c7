"""Asks the servers of all members for ``/readyz``, at the same time.

An address may belong to somebody else by now, so its answer is checked and cut, and redirects are not followed.
"""

import asyncio
import os
from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import aiohttp
import orjson
from yarl import URL

from consumer.status.facts import RouteSaid, Server

ANSWER_SECONDS = 2.0
"""Time limit for the answer of one server."""

LONGEST_ANSWER = 1 << 20
"""The longest answer that is read, in bytes. A member with a hundred partitions in trouble sends some ten thousand."""

AT_ONCE = 64
"""How many servers are asked at the same time."""

_LONGEST_TEXT = 500
_MOST_TEXTS = 100


def address_of(host: str) -> str:
    """The address in a client's host as brokers write it (``/10.0.0.5``, or a name before the slash); empty without
    one."""
    try:
        return str(ip_address(host.rpartition("/")[2]))
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a server that listens on ``host`` can be reached from its own host only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def ask_servers(hosts: Collection[str], port: int) -> list[Server]:
    """The answers of the servers on these hosts. Raises nothing: a host that does not answer has a `Server.silence`."""
    gate = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def ask(host: str) -> Server:
            async with gate:
                return await _ask(session, host, port)

        return list(await asyncio.gather(*map(ask, sorted(set(hosts)))))


async def _ask(session: aiohttp.ClientSession, host: str, port: int) -> Server:
    url = URL.build(scheme="http", host=host, port=port, path="/readyz")
    try:
        async with session.get(url, allow_redirects=False) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > LONGEST_ANSWER:
                    return Server(host, port, silence="its answer is longer than one of ours can be")
            return answered(host, port, bytes(body))
    except TimeoutError:
        return Server(host, port, silence=f"no answer within {ANSWER_SECONDS:g} s")
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        return Server(host, port, silence=os.strerror(number) if number else "cannot be reached")
    except (aiohttp.ClientError, OSError, ValueError):
        return Server(host, port, silence="no answer that is HTTP")


def answered(host: str, port: int, body: bytes) -> Server:
    """The facts in a server's answer. An answer that does not come from a server of ours counts as silence."""
    try:
        said = orjson.loads(body)
        pipelines = said["pipelines"]
        routes = tuple(_routes(pipelines))
        return Server(
            host,
            port,
            pipelines=_texts(list(pipelines)),
            reasons=_texts(said["reasons"]),
            notes=_texts([note for one in pipelines.values() for note in one.get("notes", ())]),
            routes=routes,
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Server(host, port, silence="what answers is no member of this service")


def _routes(pipelines: dict[str, Any]) -> Iterator[RouteSaid]:
    for name, pipeline in pipelines.items():
        for route in list(pipeline["routes"])[:_MOST_TEXTS]:
            texts = (route["route"], route["condition"], route["since"], route["reason"])
            yield RouteSaid(*_texts([name, *texts]))


def _texts(given: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(given, list):
        raise TypeError("no list")
    return tuple(str(text)[:_LONGEST_TEXT] for text in given[:_MOST_TEXTS])
