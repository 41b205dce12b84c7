"""What the members' servers say of themselves: ``/readyz`` of each, all asked at the same time.

An address may belong to anybody by now, so what it answers is judged and cut, and nothing of it is followed.
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
"""For one server to answer."""

LONGEST_ANSWER = 1 << 20
"""In bytes; the answer of a member with a hundred partitions in trouble has some ten thousand."""

AT_ONCE = 64
"""Servers that are asked at the same time."""

_LONGEST_TEXT = 500
_MOST_TEXTS = 100


def address_of(host: str) -> str:
    """The address in what a broker says of a client's host (``/10.0.0.5``, or a name before that); empty if none is."""
    try:
        return str(ip_address(host.rpartition("/")[2]))
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a server that listens there is reached from its own host only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def ask_servers(hosts: Collection[str], port: int) -> list[Server]:
    """What each of these hosts says. Nothing is raised: one that does not answer has a `Server.silence`."""
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
    """What this answer of a server says; one that is not ours is a silence."""
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
