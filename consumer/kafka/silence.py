"""Partitions whose fetches are not answered: no leader, a failed disk, an error that the client only logs. Pure.

The client raises nothing then (aiokafka 0.14): a partition without an answer looks like one without events.
"""

from collections.abc import Mapping

from aiokafka import TopicPartition

SILENT_SECONDS = 60.0
"""Longer than the election of a leader or a restart of a broker takes."""


class Silence:
    """Since when the fetches of each partition have not been answered, by the monotonic clock."""

    def __init__(self) -> None:
        self._answers: dict[TopicPartition, int | None] = {}
        self._heard_at: dict[TopicPartition, float] = {}

    def observe(self, answers: Mapping[TopicPartition, int | None], now: float) -> None:
        """What marks the last answer to a fetch (None: there was none yet), of every partition that is fetched now."""
        self._heard_at = {
            partition: self._heard_at[partition]
            if partition in self._answers and self._answers[partition] == answer
            else now
            for partition, answer in answers.items()
        }
        self._answers = dict(answers)

    def silent(self, now: float) -> Mapping[TopicPartition, float]:
        """The partitions that have been silent for too long, and for how many seconds."""
        return {
            partition: now - heard_at
            for partition, heard_at in self._heard_at.items()
            if now - heard_at >= SILENT_SECONDS
        }
