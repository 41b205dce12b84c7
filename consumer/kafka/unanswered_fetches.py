"""Finds partitions whose fetches are not answered: no leader, a failed disk, an error that the client only logs. Pure.

aiokafka 0.14 raises nothing in these cases: a partition without answers looks like a partition without events.
"""

from collections.abc import Mapping

from aiokafka import TopicPartition

SILENT_SECONDS = 60.0
"""A partition without an answer for this long is silent: leader elections and broker restarts take less time."""


class UnansweredFetches:
    """Since when the fetches of each partition have not been answered, by the monotonic clock."""

    def __init__(self) -> None:
        self._answers: dict[TopicPartition, int | None] = {}
        self._heard_at: dict[TopicPartition, float] = {}

    def observe(self, answers: Mapping[TopicPartition, int | None], now: float) -> None:
        """Take note of the last answer to a fetch, for every partition that is fetched now.

        ``answers`` has a number that changes with each answer (None: there was none yet).
        """
        self._heard_at = {
            partition: self._heard_at[partition]
            if partition in self._answers and self._answers[partition] == answer
            else now
            for partition, answer in answers.items()
        }
        self._answers = dict(answers)

    def silent(self, now: float) -> Mapping[TopicPartition, float]:
        """The partitions that have been silent for too long, with the number of seconds."""
        return {
            partition: now - heard_at
            for partition, heard_at in self._heard_at.items()
            if now - heard_at >= SILENT_SECONDS
        }
