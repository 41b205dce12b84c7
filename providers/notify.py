"""Sends one notification: its requests one after another, until one is not accepted."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from providers.answer import Accepted, Answer, Rejected
from providers.notification import Notification
from providers.provider import Provider, Request

NO_SUCH_ALERT: Final = 404

Classify = Callable[[int, Mapping[str, str], bytes], Answer]
"""Gives the meaning of an answer by its status, headers and body; see `Provider.classify`."""


class Sender(Protocol):
    """Makes requests: `providers.http.HttpSender`, or a test's stand-in."""

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        """Make one request and return the meaning of its answer. Raises nothing but CancelledError."""
        ...


async def deliver(
    sender: Sender,
    provider: Provider,
    route: str,
    notification: Notification,
    timeout: float,
    permit: Callable[[], Awaitable[bool]] | None = None,
    answered: Callable[[Answer], None] = lambda answer: None,
    follow_up_rejected: Callable[[Rejected], None] = lambda answer: None,
) -> Answer | None:
    """Send the notification through ``route``; ``timeout`` is in seconds, for each of its requests.

    Returns the answer to the last request, or to the first one that was not accepted; ``answered`` is called with each
    answer. If a follow-up (``priority``, ``notes``) is rejected, ``follow_up_rejected`` is called and the notification
    counts as accepted, because its first request was. A notification that is tried again begins with its first request:
    all requests are idempotent, or at worst counted once more. ``permit`` is awaited immediately before each request
    (rate, ownership). If it returns False, nothing more leaves, and the result is None.
    """
    said: Answer | None = None
    for request in provider.requests(route, notification):
        if permit is not None and not await permit():
            return None
        answer = await ask(sender, provider, request, timeout)
        answered(answer)
        if isinstance(answer, Rejected) and said is not None:
            follow_up_rejected(answer)
        elif isinstance(answer, Accepted):
            said = answer
        else:
            return answer
    return said or Accepted()


async def ask(sender: Sender, provider: Provider, request: Request, timeout: float) -> Answer:
    """Make one request to a provider; ``timeout`` is in seconds. A 404 to an action is `Rejected` with ``is_plain``."""
    answer = await sender.send(request, provider.classify, timeout)
    if request.is_action and isinstance(answer, Rejected) and answer.status == NO_SUCH_ALERT:
        return replace(answer, is_plain=True)
    return answer
