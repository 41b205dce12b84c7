"""Clocks that a test moves."""

from consumer.timing.clock import Clock
from tests.support.service import Member
from tests.support.waiting import wait_until


class Moving:
    """Clocks that a test moves forward together; what is due then is looked at with the next proofs."""

    def __init__(self) -> None:
        self._ahead = 0.0
        system = Clock.system()
        self.clock = Clock(lambda: system.wall() + self._ahead, lambda: system.monotonic() + self._ahead)

    async def to(self, seconds: float, member: Member, provider: str) -> None:
        """So long after the beginning, and two proofs later."""
        self._ahead = seconds
        before = member.metric("proofs_total", pipeline=provider, result="accepted")
        await wait_until(
            lambda: member.metric("proofs_total", pipeline=provider, result="accepted") >= before + 2, "proved"
        )
