"""How one notification is said: its requests one after another, until one is not accepted."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from providers.answer import Accepted, Answer
from providers.notification import Notification
from providers.provider import Provider, Request

Classify = Callable[[int, Mapping[str, str], bytes], Answer]
"""Status, headers and body of an answer to what it means, as `Provider.classify`."""


class Sender(Protocol):
    """What makes requests; `providers.http.HttpSender`, or a test's stand-in."""

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        """Make one request and say what its answer means. Raises nothing but CancelledError."""
        ...


async def deliver(
    sender: Sender,
    provider: Provider,
    route: str,
    notification: Notification,
    timeout: float,
    permit: Callable[[], Awaitable[bool]] | None = None,
) -> Answer | None:
    """Say the notification through ``route``; ``timeout`` is in seconds, for each of its requests.

    The answer is that of the last request, or of the first that was not accepted. Tried again, the notification begins
    with its first request: all of them are idempotent, or at worst counted once more. ``permit`` is awaited immediately
    before each request (rate, ownership); where it says no, nothing more leaves, and there is no answer.
    """
    answer: Answer = Accepted()
    for request in provider.requests(route, notification):
        if permit is not None and not await permit():
            return None
        answer = await sender.send(request, provider.classify, timeout)
        if not isinstance(answer, Accepted):
            break
    return answer
