"""Whether homes have ever moved, for a task whose checkpoint does not say (design section 17, "Homes move"). Pure.

A task that does not know whether homes have moved waits for the marks of all partitions, which nobody writes where
nothing has moved. So a fresh pipeline has to be recognised, and one that only an earlier release has run. The group's
offsets tell. A task that is wrong learns it from the first record of a task that knows better
(`consumer.tasks.homes.home`).
"""

from collections.abc import Iterable

from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import Whose, whose


def have_never_moved(
    *, has_checkpoint: bool, own: OffsetAndMetadata, others: Iterable[OffsetAndMetadata | None]
) -> bool:
    """Whether there have always been as many partitions as now, as far as the group's offsets tell.

    ``own`` is the group's offset of the task's partition, ``others`` are those of all other partitions (None: it has
    none). ``has_checkpoint``: the task has a checkpoint, of a release that did not write about homes. Each task of that
    release committed a checkpoint and then a proof soon after its start, so a partition without a proof was added. A
    partition with a proof of a checkpoint, but without the checkpoint, has lost its state and was not added. A
    partition with neither was added if any other was decided before.
    """
    if has_checkpoint:
        return all(offset is not None and whose(offset) is not Whose.FIRST for offset in others)
    if whose(own) is Whose.OURS:
        return True
    return not any(offset is not None and whose(offset) is Whose.OURS for offset in others)
