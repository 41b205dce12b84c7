"""Sends one notification: its requests one after another, until one is not accepted."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.contained import ProviderFault, containing
from providers.notification import Notification
from providers.provider import Classify, Provider, Request
from providers.sender import Sender
from providers.verification import Verifier, verdict

__all__ = ["NO_SUCH_ALERT", "Classify", "Sender", "ask", "check", "deliver"]

NO_SUCH_ALERT: Final = 404


async def deliver(
    sender: Sender,
    provider: Provider,
    route: str,
    notification: Notification,
    timeout: float,
    permit: Callable[[], Awaitable[bool]] | None = None,
    answered: Callable[[Answer], None] = lambda answer: None,
    follow_up_rejected: Callable[[Rejected], None] = lambda answer: None,
    verifier: Verifier | None = None,
) -> Answer | None:
    """Send the notification through ``route``; ``timeout`` is in seconds, for each of its requests.

    What has become of the first one, which makes the statement, is asked where the provider can say it and ``verifier``
    wants it, within that request's ``timeout``: so there is one answer, and a request that was accepted and then failed
    is one that was not accepted.

    The answer is that of the last request, or of the first that was not accepted; ``answered`` is told of each. A
    rejected follow-up (``priority``, ``notes``) is told to ``follow_up_rejected``, and the notification is accepted:
    the statement itself was. Tried again, it begins with its first request: all of them are idempotent, or at worst
    counted once more. ``permit`` is awaited immediately before each request (rate, ownership); where it says no,
    nothing more leaves, and there is no answer. A provider that cannot make the requests is out of order: that is an
    outage of it.
    """
    said: Accepted | None = None
    clock = asyncio.get_running_loop().time
    try:
        with containing("the request cannot be made"):
            requests = deque(provider.requests(route, notification))
    except ProviderFault as fault:
        return Unavailable(None, str(fault))
    while requests:
        request = requests.popleft()
        if permit is not None and not await permit():
            return None
        until = clock() + timeout
        answer = await ask(sender, provider, request, timeout)
        answered(answer)
        if isinstance(answer, Accepted) and said is None and verifier is not None:
            answer = await verdict(sender, request, answer, until, verifier)
        if isinstance(answer, Rejected) and said is not None:
            follow_up_rejected(answer)
        elif isinstance(answer, Accepted):
            if request.followed_by is not None and answer.receipt is not None:
                try:
                    with containing("the request that follows cannot be made"):
                        requests.extendleft(reversed(request.followed_by(answer.receipt)))
                except ProviderFault as fault:
                    return Unavailable(None, str(fault))
            said = Accepted(answer.date, unverified=answer.unverified if said is None else said.unverified)
        else:
            return answer
    return said or Accepted()


async def ask(sender: Sender, provider: Provider, request: Request, timeout: float) -> Answer:
    """Make one request of a provider; ``timeout`` is in seconds. A request that cannot be sent is an outage."""
    try:
        answer = await sender.send(request, request.read or provider.classify, timeout)
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
