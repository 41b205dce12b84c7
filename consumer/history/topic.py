"""The history topic, as one member knows it: it may be missing, and then no history is written."""

from collections.abc import Awaitable, Callable, Mapping, Sized
from typing import Final

from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from structlog.typing import FilteringBoundLogger

REFUSALS: Final = (TopicAuthorizationFailedError, UnknownTopicOrPartitionError, MessageSizeTooLargeError)
"""The errors of a topic that does not take history, whoever is at fault. Nothing else waits for it."""


class HistoryTopic:
    """One topic for the tasks of a member. ``look`` lists the topics that exist, by name, with their partitions."""

    def __init__(
        self, name: str, look: Callable[[], Awaitable[Mapping[str, Sized]]], log: FilteringBoundLogger
    ) -> None:
        self.name = name
        self._look = look
        self._log = log
        self._partitions = 0
        self._has_told = False
        self._is_doubted = False

    @property
    def is_there(self) -> bool:
        """Whether history is written."""
        return self._partitions > 0

    async def look(self) -> None:
        """See whether the topic is there, if that is not known. A task asks when it is built. That the topic is
        missing, or that Kafka does not say, is logged once."""
        if self.is_there:
            return
        try:
            self._partitions = len((await self._look()).get(self.name, ()))
        except (KafkaError, OSError, TimeoutError) as error:
            self._tell(error=repr(error))
            return
        if not self.is_there:
            self._tell(error="the topic does not exist, or this user may not see it")

    def _tell(self, error: str) -> None:
        if not self._has_told:
            self._has_told = True
            self._log.warning("history_topic_missing", topic=self.name, error=error)

    async def is_ready(self) -> bool:
        """Whether it takes history now. After `doubted` it is asked whether the topic is still there; raises
        `KafkaError`, `OSError` or `TimeoutError` if nobody says."""
        if self._is_doubted:
            self._partitions = len((await self._look()).get(self.name, ()))  # created anew, it may have fewer
            self._is_doubted = False
            if not self.is_there:
                self.refused(UnknownTopicOrPartitionError("the topic does not exist any more"))
        return self.is_there

    def doubted(self) -> None:
        """Note that the topic has not answered for long: the topic, or all of Kafka, may be gone."""
        self._is_doubted = True

    def partition(self, task: int) -> int:
        """The partition for what the task of this partition writes: all of it goes to one, in its order."""
        return task % max(1, self._partitions)  # another task of the member may just have heard that there is none

    def refused(self, error: BaseException) -> None:
        """The topic has not taken what was written: no history is written until a task is built that finds it again."""
        self._partitions = 0
        self._log.error("history_refused", topic=self.name, error=repr(error))
