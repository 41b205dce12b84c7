"""What makes requests, as those see it who have some to make."""

from typing import Protocol

from providers.answer import Answer
from providers.provider import Classify, Request


class Sender(Protocol):
    """What makes requests; `providers.http.HttpSender`, or a test's stand-in."""

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        """Make one request and say what its answer means. Raises nothing but `CancelledError`."""
        ...
