"""Whether homes have ever moved, for a task whose checkpoint does not say (design section 17, "Homes move"). Pure.

Who does not know that has to wait for the marks of all partitions, which nobody writes where nothing has moved: a fresh
pipeline, and one that an earlier release has run so far, must be known as what they are. The group's offsets tell.
Whoever is wrong learns it from the first record of a task that knows better (`consumer.homes.home`).
"""

from collections.abc import Iterable

from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import Whose, whose


def have_never_moved(
    *, has_checkpoint: bool, own: OffsetAndMetadata, others: Iterable[OffsetAndMetadata | None]
) -> bool:
    """Whether there have always been as many partitions as there are now, as far as the group's offsets tell.

    ``own`` is that of the task's own partition, ``others`` are those of all others (None: it has none), and
    ``has_checkpoint`` is one of an earlier release. Of that, each task committed a checkpoint, and then a proof, soon
    after its start: a partition without was added. A partition that has a proof of a checkpoint, and no checkpoint, has
    lost its state, and was not added. Without either it was added if any other has been decided before.
    """
    if has_checkpoint:
        return all(offset is not None and whose(offset) is not Whose.FIRST for offset in others)
    if whose(own) is Whose.OURS:
        return True
    return not any(offset is not None and whose(offset) is Whose.OURS for offset in others)
