"""What has become of a request that was accepted, at a provider that accepts first and acts later.

The question is a request of its own. Its answers mean: `Accepted` it has come about; `Accepted` with ``unverified``:
nobody can say; `Rejected`, `RouteRefused`: it has failed, and whose fault that is; anything else: later
(design section 9).
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from providers.answer import Accepted, Answer, Rejected, RouteRefused
from providers.contained import FAULTS, contained_reading, fault_of
from providers.provider import Classify, Request, Verify
from providers.sender import Sender

FIRST_WAIT: Final = 0.5
"""Seconds between the first two questions. Each later pause is twice as long as the one before, up to
`LONGEST_WAIT`."""

LONGEST_WAIT: Final = 2.0
"""The longest pause between two questions, in seconds. A closing task waits for this pause and for one answer, so both
are short."""

ANSWER_SECONDS: Final = 5.0
"""The longest wait for the answer to one question, in seconds."""


Enough = Callable[[str | None], None]
"""Ends the questions about a request at once: with None the request is believed to have succeeded, else the text says
why that is not known. It may be called once, between `Verifier.began` and `Verifier.ended`."""


class Verifier(Protocol):
    """Decides what is asked, and when a question may leave."""

    def wants(self, verify: Verify) -> bool:
        """Whether to ask what became of a request that was accepted."""
        ...

    def began(self, verify: Verify, enough: Enough) -> str | None:
        """This is called before the first question about a request. It returns why none can be asked, else None.
        ``enough`` ends the questions."""
        ...

    async def may_ask(self, seconds: float) -> bool:
        """Wait until a question may leave, at most ``seconds``. Returns whether it may."""
        ...

    def heard(self, answer: Answer) -> None:
        """This is called with the answer to each question."""
        ...

    def ended(self, answer: Answer | None) -> None:
        """This is called once after `began` has returned None, with the answer by which the request is settled.
        ``answer`` is None if `Enough` or a cancellation has ended the questions."""
        ...


class AlwaysVerified:
    """A `Verifier` for a caller that waits for the outcome: about each request that can be asked about, it asks at
    once."""

    def wants(self, verify: Verify) -> bool:
        """Returns True: each request is asked about."""
        return True

    def began(self, verify: Verify, enough: Enough) -> str | None:
        """Returns None: there is always a place for questions."""
        return None

    async def may_ask(self, seconds: float) -> bool:
        """Returns True at once: no question has to wait."""
        return True

    def heard(self, answer: Answer) -> None:
        """Does nothing: no rate depends on the answer."""

    def ended(self, answer: Answer | None) -> None:
        """Does nothing: there is nothing to give back."""


async def verdict(sender: Sender, request: Request, accepted: Accepted, until: float, verifier: Verifier) -> Answer:
    """What has become of ``request``, as far as that can be had by the moment ``until`` of the loop's clock.

    `Rejected` or `RouteRefused` where it has failed; else ``accepted``, which says so if it is unverified.
    """
    verify = request.verify
    if verify is None or not verifier.wants(verify):
        return accepted
    clock, not_known = asyncio.get_running_loop().time, None
    try:
        async with asyncio.timeout(None) as questions:

            def enough(reason: str | None) -> None:
                nonlocal not_known
                not_known = reason
                questions.reschedule(clock())

            if (why := verifier.began(verify, enough)) is not None:
                return replace(accepted, unverified=why)
            answer: Answer | None = None
            try:
                answer = await _verdict(sender, verify, accepted, until, verifier)
            finally:
                verifier.ended(answer)
            return answer
    except TimeoutError:
        return replace(accepted, unverified=not_known)


async def _verdict(sender: Sender, verify: Verify, accepted: Accepted, until: float, verifier: Verifier) -> Answer:
    if accepted.receipt is None:
        return replace(accepted, unverified="the answer does not say by what its status can be asked for")
    clock, wait = asyncio.get_running_loop().time, FIRST_WAIT
    try:
        question = verify.ask(accepted.receipt)
        read = _read_of(question)
    except FAULTS as error:  # it was accepted all the same
        return replace(accepted, unverified=str(fault_of("the question cannot be made", error)))
    reason = "there was no time to ask"
    while (left := until - clock()) > 0 and await verifier.may_ask(left) and (left := until - clock()) > 0:
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
    return replace(accepted, unverified=reason)


def _read_of(question: Request) -> Classify:
    assert question.read is not None  # a question says itself what its answers mean
    return contained_reading(question.read)
