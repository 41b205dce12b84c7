"""What a member of a group reads."""

from dataclasses import dataclass

from consumer.input.partition_input import StartFrom


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The input of a pipeline or of its stage, read by one consumer group.

    ``checkpoints`` is the topic of its checkpoints, which must have as many partitions as ``topic``. ``start_from``
    says where a partition begins that no group has read, and ``before`` is the group that may have read the topic
    before this one (None: there is none).
    """

    topic: str
    group_id: str
    checkpoints: str
    start_from: StartFrom
    before: str | None = None
