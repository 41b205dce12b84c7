"""How one notification is said: its requests one after another, until one is not accepted."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.contained import ProviderFault, containing
from providers.notification import Notification
from providers.provider import Provider, Request

NO_SUCH_ALERT: Final = 404

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
    answered: Callable[[Answer], None] = lambda answer: None,
    follow_up_rejected: Callable[[Rejected], None] = lambda answer: None,
) -> Answer | None:
    """Say the notification through ``route``; ``timeout`` is in seconds, for each of its requests.

    The answer is that of the last request, or of the first that was not accepted; ``answered`` is told of each. A
    rejected follow-up (``priority``, ``notes``) is told to ``follow_up_rejected``, and the notification is accepted:
    the statement itself was. Tried again, it begins with its first request: all of them are idempotent, or at worst
    counted once more. ``permit`` is awaited immediately before each request (rate, ownership); where it says no,
    nothing more leaves, and there is no answer. A provider that cannot make the requests is out of order: that is an
    outage of it.
    """
    said: Answer | None = None
    try:
        with containing("the request cannot be made"):
            requests = provider.requests(route, notification)
    except ProviderFault as fault:
        return Unavailable(None, str(fault))
    for request in requests:
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
    """Make one request of a provider; ``timeout`` is in seconds. A request that cannot be sent is an outage."""
    try:
        answer = await sender.send(request, provider.classify, timeout)
    except Exception as error:  # the request, or what is made of its answer, is not what it has to be
        return Unavailable(None, f"the request failed: {type(error).__name__}", unknown=True)
    if request.is_action and isinstance(answer, Rejected) and answer.status == NO_SUCH_ALERT:
        return replace(answer, is_plain=True)
    return answer


async def check(sender: Sender, provider: Provider, route: str, timeout: float) -> Answer:
    """Check the key of a route; ``timeout`` is in seconds. A provider that cannot make the request is out of order."""
    try:
        with containing("the check cannot be made"):
            request = provider.check(route)
    except ProviderFault as fault:
        return Unavailable(None, str(fault))
    if request is None:
        return Unavailable(None, "its key cannot be checked")
    return await ask(sender, provider, request, timeout)
