"""The heartbeat: pings while all is well, so that the provider itself calls somebody when they stop.

The heartbeat vouches for the whole group (design section 9). So one member pings: the caller decides which one, and
runs or cancels `Heartbeat.run`. In doubt no ping is sent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.classification import THROTTLED, accepted, classify_status
from providers.contained import contained_reading
from providers.logger import Logger
from providers.notify import NO_SUCH_ALERT, Sender
from providers.provider import HeartbeatCalls, Request

PINGS_PER_INTERVAL: Final = 3
"""A heartbeat expires after one interval without a ping. With three pings, one lost ping raises no alarm, even if the
next one is late. With two, the ping after a lost one would race with the expiry."""

WRONG_METHOD: Final = 405

MAX_TIMEOUT: Final = 10.0
"""The longest wait for the answer to a ping, in seconds; half the time between two pings if that is less."""


class Heartbeat:
    """Pings while ``healthy`` returns None. Otherwise ``healthy`` returns the reason why a ping is withheld.

    ``on_ping`` is called at every turn with ``accepted``, ``failed`` or ``withheld``.
    """

    def __init__(
        self,
        calls: HeartbeatCalls,
        *,
        sender: Sender,
        healthy: Callable[[], str | None],
        log: Logger,
        on_ping: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.period = calls.interval / PINGS_PER_INTERVAL
        """Seconds between two pings."""
        self._timeout = min(MAX_TIMEOUT, self.period / 2)
        self._calls = calls
        self._ping = calls.ping
        self._sender = sender
        self._healthy = healthy
        self._log = log
        self._on_ping = on_ping
        self._sleep = sleep
        self._now = now

    async def run(self) -> None:
        """Ping until cancelled.

        Raises nothing but `CancelledError`: a heartbeat that fails must not stop the service that it vouches for.
        """
        await self._look()
        while True:
            await self._turn()
            await self._sleep(self.period)

    async def _look(self) -> None:
        """Warn if the provider has no heartbeat of this name: it accepts the pings all the same, but would never call
        anybody."""
        if self._calls.exists is None:
            return
        answer = await self._ask(self._calls.exists, self._calls.exists_status)
        if isinstance(answer, Rejected) and answer.status == NO_SUCH_ALERT:
            self._log.warning("heartbeat_unknown", heartbeat=self._calls.name)
        elif not isinstance(answer, Accepted):
            self._log.warning(
                "heartbeat_check_failed", heartbeat=self._calls.name, status=_status(answer), reason=answer.reason
            )

    async def _turn(self) -> None:
        reason = self._why_not()
        if reason is not None:
            self._log.warning("heartbeat_withheld", heartbeat=self._calls.name, reason=reason)
            self._on_ping("withheld")
            return
        answer = await self._ask(self._ping, self._calls.ping_status)
        otherwise = self._calls.ping_otherwise
        if isinstance(answer, Rejected) and answer.status == WRONG_METHOD and otherwise is not None:
            self._ping = otherwise if self._ping is self._calls.ping else self._calls.ping
            answer = await self._ask(self._ping, self._calls.ping_status)
        if isinstance(answer, Accepted):
            self._log.debug("heartbeat_pinged", heartbeat=self._calls.name)
            self._on_ping("accepted")
        else:
            self._log.warning(
                "heartbeat_failed", heartbeat=self._calls.name, status=_status(answer), reason=answer.reason
            )
            self._on_ping("failed")

    async def _ask(self, request: Request, success: int) -> Answer:
        read = self._classifier(success) if request.read is None else contained_reading(request.read)
        return await self._sender.send(request, read, self._timeout)

    def _why_not(self) -> str | None:
        try:
            return self._healthy()
        except Exception as error:  # in doubt no ping is sent
            return f"the health check failed: {type(error).__name__}"

    def _classifier(self, success: int) -> Callable[[int, Mapping[str, str], bytes], Answer]:
        def classify(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
            if status == success:
                return accepted(headers)
            return classify_status(status, headers, self._calls.read(status, body), self._now())

        return classify


def _status(answer: Rejected | RouteRefused | Throttled | Unavailable) -> int | None:
    return THROTTLED if isinstance(answer, Throttled) else answer.status
