"""Sends one notification: its requests one after another, until one is not accepted."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from providers.answer import Accepted, Answer, Rejected, Throttled, Unavailable
from providers.contained import FAULTS, ProviderFault, contained_reading, containing, fault_of
from providers.notification import Notification
from providers.provider import Classify, Provider, Request
from providers.sender import Sender
from providers.verification import Verifier, verdict

__all__ = ["NO_SUCH_ALERT", "Classify", "Sender", "ask", "check", "deliver", "failure_of", "followers_of"]

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
    verifier: Callable[[], Verifier] | None = None,
    beside: Callable[[Sequence[Request]], None] | None = None,
) -> Answer | None:
    """Send the notification through ``route``; ``timeout`` is in seconds, for each of its requests.

    What has become of the first one, which makes the statement, is asked where the provider can say it and the
    verifier wants it, within that request's ``timeout``: so there is one answer, and a request that was accepted and
    then failed is one that was not accepted. ``verifier`` makes the verifier where there is something to verify.

    The answer is that of the first request, whose ``date`` is when there may have come to be an incident, or of the
    first that was not accepted; ``answered`` is told of each. A rejected follow-up (``priority``, ``notes``) is told to
    ``follow_up_rejected``, and the notification is accepted: the statement itself was. Those at an API beside the
    integration's (`Request.is_beside`) are given to ``beside``, to be made by itself; without that they are made here,
    and one that fails counts as rejected. Tried again, the notification begins with its first request: all of them are
    idempotent, or at worst counted once more. ``permit`` is awaited immediately before each request (rate, ownership);
    where it says no, nothing more leaves, and there is no answer. A provider that cannot make the requests is out of
    order: that is an outage of it.
    """
    said: Accepted | None = None
    clock = asyncio.get_running_loop().time
    try:
        requests = deque(provider.requests(route, notification))
    except FAULTS as error:
        return Unavailable(None, str(fault_of("the request cannot be made", error)))
    while requests:
        if beside is not None and said is not None and requests[0].is_beside:
            beside([requests.popleft() for _ in takewhile(lambda each: each.is_beside, tuple(requests))])
            continue
        request = requests.popleft()
        if permit is not None and not await permit():
            return None
        until = clock() + timeout
        answer = await ask(sender, provider, request, timeout)
        answered(answer)
        if verifier is not None and request.verify is not None and isinstance(answer, Accepted) and said is None:
            answer = await verdict(sender, request, answer, until, verifier())
        if isinstance(answer, Accepted):
            try:
                requests.extendleft(reversed(followers_of(request, answer)))
            except ProviderFault as fault:
                answer = Unavailable(None, str(fault))
        if said is not None and request.is_beside and (failure := failure_of(answer)) is not None:
            follow_up_rejected(Rejected(failure.status or 0, failure.reason))
        elif isinstance(answer, Rejected) and said is not None:
            follow_up_rejected(answer)
        elif isinstance(answer, Accepted):
            said = said or Accepted(answer.date, unverified=answer.unverified)
        else:
            return answer
    return said or Accepted()


async def ask(sender: Sender, provider: Provider, request: Request, timeout: float) -> Answer:
    """Make one request of a provider; ``timeout`` is in seconds. A request that cannot be sent is an outage."""
    try:
        read = provider.classify if request.read is None else contained_reading(request.read)
        answer = await sender.send(request, read, timeout)
    except Exception as error:  # the request, or what is made of its answer, is not what it has to be
        return Unavailable(None, f"the request failed: {type(error).__name__}", unknown=True)
    if request.is_action and isinstance(answer, Rejected) and answer.status == NO_SUCH_ALERT:
        return replace(answer, is_plain=True)
    return answer


async def check(sender: Sender, provider: Provider, route: str, timeout: float) -> Answer:
    """Check the key of a route; ``timeout`` is in seconds. A provider that cannot make the request is out of order."""
    try:
        request = provider.check(route)
    except FAULTS as error:
        return Unavailable(None, str(fault_of("the check cannot be made", error)))
    if request is None:
        return Unavailable(None, "its key cannot be checked")
    return await ask(sender, provider, request, timeout)


def failure_of(answer: Answer) -> Unavailable | None:
    """The failure that an answer means, if the request is to be made again; else None."""
    if isinstance(answer, Throttled):
        return Unavailable(429, answer.reason, answer.retry_after)
    return answer if isinstance(answer, Unavailable) else None


def followers_of(request: Request, answer: Accepted) -> Sequence[Request]:
    """The requests that an accepted one is followed by. Raises `ProviderFault` if the provider cannot make them."""
    if request.followed_by is None or answer.receipt is None:
        return ()
    with containing("the request that follows cannot be made"):
        return request.followed_by(answer.receipt)
