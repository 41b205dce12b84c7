"""Looking at the topics while the service runs: they grow, are altered, deleted and made anew (design sections 15, 17).

What `topics check` would say, a running member says by itself, within a minute, and whenever one of its tasks is built.
Task *i* keeps its alerts, or its position, in partition *i* of a topic of ours: a partition of the input without one is
decided by nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.topics import TopicReport

LOOK_SECONDS = 5.0
"""Between two looks at what the client knows, or at the topics while something is wrong with them."""

LOOKS_BETWEEN = 12
"""Every so many of these, the topics are looked at anyway."""

ASK_SECONDS = 10.0
"""For Kafka to describe its topics."""


class TopicWatch:
    """Watches the topics of one member. ``look`` is how they are now, as `member_topics` says it.

    ``follower`` is the one that must have as many partitions as the input.
    """

    def __init__(self, look: Callable[[], Awaitable[TopicReport]], follower: str, log: FilteringBoundLogger) -> None:
        self._look = look
        self._follower = follower
        self._log = log
        self._checked: int | None = None
        self._is_asked = False
        self.outgrown: tuple[str, ...] = ()
        """Which topics have another number of partitions than their input, and what to do, a sentence for each."""
        self.unfit: tuple[str, ...] = ()
        """What else is wrong with the topics and stops the member, or endangers its state, a sentence for each."""
        self.advice: tuple[str, ...] = ()
        """What else would keep a member from starting."""

    def ask(self) -> None:
        """They are to be looked at soon, whatever is known of them: something may have happened."""
        self._is_asked = True

    async def run(self, partitions: Callable[[], int]) -> None:
        """Until cancelled. ``partitions`` is how many the input has as far as this member knows, 0 for unknown."""
        for turn in count():
            if turn % LOOKS_BETWEEN == 0:
                self.ask()
            await self.look(partitions())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, partitions: int) -> None:
        """The input has so many partitions."""
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
