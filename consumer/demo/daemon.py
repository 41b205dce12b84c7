"""Sends events as the webhook exporter of the engine's daemon does: it posts each event to an address.

Each post has one event and a bearer token. After 429 and 5xx it is repeated with a growing pause. If nobody accepts the
connection, the daemon does not try again, and neither does this.
"""

import asyncio
from typing import Any

import aiohttp
import orjson

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
_AGAIN = (429, *range(500, 600))


class PostError(Exception):
    """An event was not accepted: one line that says why, without the token."""


class Daemon:
    """Posts events to the ``url`` of `clawdstrike-alerting ingest`; it tries each event for at most ``seconds``."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str, seconds: float) -> None:
        self.url = url
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._seconds = seconds

    async def post(self, event: dict[str, Any]) -> None:
        """Post one event until it is accepted. Raises `PostError` if it is not."""
        status, pause = 0, FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._seconds):
                while (status := await self._status(orjson.dumps(event))) in _AGAIN:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except TimeoutError:
            raise PostError(f"{self.url} did not take an event within {self._seconds:g} s (status {status})") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PostError(f"an event could not be posted to {self.url}: {error}") from error
        if status != 200:
            raise PostError(f"{self.url} answered an event with {status}")

    async def _status(self, body: bytes) -> int:
        async with self._http.post(self.url, data=body, headers=self._headers) as response:
            await response.read()
            return response.status
