"""Noticing that the input of a member has got more partitions, and that the topic beside it has not (design 15).

Task *i* keeps its alerts, or its position, in partition *i* of a topic of ours: a partition of the input without one is
decided by nobody. What the client knows of the input is refreshed by itself; only a change is asked about.
"""

import asyncio
from collections.abc import Callable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.topics import TopicSpec, outgrown

LOOK_SECONDS = 5.0
"""Between two looks at what the client knows, or at the topics while one of them has to grow."""

ASK_SECONDS = 10.0
"""For Kafka to list its topics."""


class Growth:
    """Watches one topic that follows another. ``follower`` is the topic as it is to be."""

    def __init__(self, admin: AIOKafkaAdminClient, follower: TopicSpec, log: FilteringBoundLogger) -> None:
        self._admin = admin
        self._follower = follower
        self._log = log
        self._checked: int | None = None
        self.outgrown: tuple[str, ...] = ()
        """Which topic has to grow, and how, in a sentence; nothing if all is well."""

    async def run(self, partitions: Callable[[], int]) -> None:
        """Until cancelled. ``partitions`` is how many the input has as far as this member knows, 0 for unknown."""
        while True:
            await self.look(partitions())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, partitions: int) -> None:
        """The input has so many partitions."""
        if not partitions or partitions == self._checked:
            return
        try:
            async with asyncio.timeout(ASK_SECONDS):
                # All are listed: a question that names a topic can create it.
                listed = await self._admin.describe_topics()
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.warning("topics_unknown", error=repr(error))
            return
        counts = {topic["topic"]: len(topic["partitions"]) for topic in listed if topic["partitions"]}
        before, self.outgrown = self.outgrown, tuple(outgrown(self._follower, counts))
        for sentence in self.outgrown:
            if sentence not in before:
                self._log.error("topic_outgrown", error=sentence)
        if not self.outgrown and counts.get(self._follower.input) == partitions:
            self._checked = partitions
            if before:
                self._log.info("topic_has_grown", topic=self._follower.name, partitions=partitions)
