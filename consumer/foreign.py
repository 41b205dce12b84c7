"""State topics that belong to another consumer group: two services on the same topics would end each other's alerts."""

from state.records import Position


def foreign_group(checkpoint: Position, group_id: str, topic: str) -> str | None:
    """What is wrong with a checkpoint of a topic of ours, and the fix; None if it is this group's.

    A checkpoint of a release that did not say whose it is is taken as this group's.
    """
    if checkpoint.group is None or checkpoint.group == group_id:
        return None
    return (
        f"topic {topic} belongs to consumer group {checkpoint.group}, and this service's is {group_id}: give each "
        "service topics of its own (kafka.topics.state and kafka.topics.keyed), or set kafka.group_id back"
    )
