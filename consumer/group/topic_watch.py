"""Looking at the topics while the service runs: they may grow, be altered, be deleted and created anew (design sections
15, 17).

A running member reports by itself what `topics check` would say: within a minute, and whenever one of its tasks is
built. Task *i* keeps its checkpoints in partition *i* of a topic of this service: a partition of the input without such
a partition is decided by nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.topics import TopicReport

LOOK_SECONDS = 5.0
"""Seconds between two looks at how many partitions the client knows, and at the topics while something is wrong with
them."""

LOOKS_BETWEEN = 12
"""After so many looks the topics are asked for in any case."""

ASK_SECONDS = 10.0
"""How many seconds Kafka may take to describe its topics."""


class TopicWatch:
    """Watches the topics of one member. ``look`` asks Kafka for them, as `member_topics` does.

    ``follower`` is the topic that must have as many partitions as the input.
    """

    def __init__(self, look: Callable[[], Awaitable[TopicReport]], follower: str, log: FilteringBoundLogger) -> None:
        self._look = look
        self._follower = follower
        self._log = log
        self._checked: int | None = None
        self._is_asked = False
        self.outgrown: tuple[str, ...] = ()
        """A sentence for each topic that has another number of partitions than the input, with what to do."""
        self.unfit: tuple[str, ...] = ()
        """A sentence for everything else about the topics that stops the member, or endangers its state."""
        self.advice: tuple[str, ...] = ()
        """A sentence for everything else that would keep a member from starting."""

    def ask(self) -> None:
        """Have the topics looked at soon."""
        self._is_asked = True

    async def run(self, partitions: Callable[[], int]) -> None:
        """Watch until cancelled. ``partitions`` returns how many partitions the input has as far as the client knows;
        0: unknown."""
        for turn in count():
            if turn % LOOKS_BETWEEN == 0:
                self.ask()
            await self.look(partitions())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, partitions: int) -> None:
        """Look at the topics if there is reason to; ``partitions`` is how many partitions the input has."""
        has_changed = partitions not in (0, self._checked)
        if not (self._is_asked or has_changed or self.outgrown or self.unfit or self.advice):
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                report = await self._look()
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.warning("topics_unknown", error=repr(error))
            return
        self._is_asked = False
        outgrown, self.outgrown = self.outgrown, report.outgrown
        unfit = (*self.unfit, *self.advice)
        self.unfit, self.advice = report.problems, report.advice
        for sentence in self.outgrown:
            if sentence not in outgrown:
                self._log.error("topic_outgrown", error=sentence)
        for sentence in (*self.unfit, *self.advice):
            if sentence not in unfit:
                self._log.error("topic_unfit", error=sentence)
        if not self.outgrown and report.partitions == partitions:
            self._checked = partitions
        if outgrown and not self.outgrown:
            self._log.info("topic_has_grown", topic=self._follower, partitions=report.found.get(self._follower))
        if unfit and not (self.unfit or self.advice):
            self._log.info("topics_fit_again")
