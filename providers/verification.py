"""What has become of a request that was accepted, at a provider that accepts first and acts later.

The question is a request of its own. Its answers mean: `Accepted` it has come about; `Accepted` with ``unverified``:
nobody can say; `Rejected`, `RouteRefused`: it has failed, and whose fault that is; anything else: later
(design section 9).
"""

import asyncio
from dataclasses import replace
from typing import Final, Protocol

from providers.answer import Accepted, Answer, Rejected, RouteRefused
from providers.contained import ProviderFault, containing
from providers.provider import Classify, Request, Verify
from providers.sender import Sender

FIRST_WAIT: Final = 0.5
"""Seconds between the first two questions; between two of them twice as long as before that."""

LONGEST_WAIT: Final = 2.0
"""Seconds between two questions. A task that closes waits for it, and for the answer to one, so they are short."""

ANSWER_SECONDS: Final = 5.0
"""How long the answer to one question is waited for."""


class Verifier(Protocol):
    """Decides what is asked, and when a question may leave."""

    def wants(self, verify: Verify) -> bool:
        """Whether it is to be known, or still is."""
        ...

    async def may_ask(self, seconds: float) -> bool:
        """Wait until a question may leave, ``seconds`` at most; whether it may."""
        ...

    def heard(self, answer: Answer) -> None:
        """What a question was answered."""
        ...

    def ended(self, answer: Answer | None) -> None:
        """What is made of the request; None where it is not wanted any more, or was cut off."""
        ...


class AlwaysVerified:
    """For somebody who waits for it: each request that can be, at once."""

    def wants(self, verify: Verify) -> bool:
        """Always."""
        return True

    async def may_ask(self, seconds: float) -> bool:
        """Always, at once."""
        return True

    def heard(self, answer: Answer) -> None:
        """Nothing follows from it."""

    def ended(self, answer: Answer | None) -> None:
        """Nothing follows from it."""


async def verdict(sender: Sender, request: Request, accepted: Accepted, until: float, verifier: Verifier) -> Answer:
    """What has become of ``request``, as far as that can be had by the moment ``until`` of the loop's clock.

    `Rejected` or `RouteRefused` where it has failed; else ``accepted``, which says so if it is unverified.
    """
    verify = request.verify
    if verify is None or not verifier.wants(verify):
        return accepted
    answer = None
    try:
        answer = await _verdict(sender, verify, accepted, until, verifier)
    finally:
        verifier.ended(answer)
    return accepted if answer is None else answer


async def _verdict(
    sender: Sender, verify: Verify, accepted: Accepted, until: float, verifier: Verifier
) -> Answer | None:
    """None: it is not wanted any more, since what this integration accepts is known to come about."""
    if accepted.receipt is None:
        return replace(accepted, unverified="the answer does not say by what its status can be asked for")
    clock, wait = asyncio.get_running_loop().time, FIRST_WAIT
    try:
        with containing("the question cannot be made"):
            question = verify.ask(accepted.receipt)
            read = _read_of(question)
    except ProviderFault as fault:  # it was accepted all the same
        return replace(accepted, unverified=str(fault))
    reason = "there was no time to ask"
    while (left := until - clock()) > 0 and await verifier.may_ask(left) and (left := until - clock()) > 0:
        if not verifier.wants(verify):
            return None
        try:
            answer = await sender.send(question, read, min(left, ANSWER_SECONDS))
        except Exception as error:  # what is made of the answer is not what it has to be
            return replace(accepted, unverified=f"the answer cannot be read: {type(error).__name__}")
        verifier.heard(answer)
        match answer:
            case Accepted(unverified=unverified):
                return replace(accepted, unverified=unverified)
            case Rejected() | RouteRefused():
                return answer
        reason = answer.reason
        pause = max(wait, answer.retry_after or 0.0)
        if clock() + pause >= until:
            break
        await asyncio.sleep(pause)
        wait = min(2 * wait, LONGEST_WAIT)
        if not verifier.wants(verify):
            return None
    return replace(accepted, unverified=reason)


def _read_of(question: Request) -> Classify:
    assert question.read is not None  # a question says itself what its answers mean
    return question.read
