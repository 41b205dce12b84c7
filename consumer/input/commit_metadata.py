"""Whose a group offset is: the metadata of our commits says so (design section 17, "Offsets of others"). Pure."""

from enum import Enum, auto

from aiokafka.structs import OffsetAndMetadata

COMMIT_METADATA = "clawdstrike-alerting"
"""The metadata of the commits of a task that has a checkpoint. It never changes: earlier releases know this one only,
and take an offset with any other for an operator's."""

START_METADATA = f"{COMMIT_METADATA} start"
"""Of the first commit of a pipeline that has never been: its configured start, before there is any checkpoint."""

BEGINNING_METADATA = f"{COMMIT_METADATA} beginning"
"""Of the first commit of any other partition without an offset: its beginning."""

ORDER_METADATA = f"{COMMIT_METADATA} order"
"""Of what ``offsets rewind`` and ``offsets skip`` set: it is obeyed, wherever it is."""


class Whose(Enum):
    """Who has set a group offset, and what that says."""

    OURS = auto()
    FIRST = auto()
    """Ours, and there was no checkpoint yet."""
    ORDER = auto()
    """An operator's, by our own command."""
    FOREIGN = auto()
    """Anybody else's: Kafka's tools, or a reader with our group's id."""


_WHOSE = {
    COMMIT_METADATA: Whose.OURS,
    START_METADATA: Whose.FIRST,
    BEGINNING_METADATA: Whose.FIRST,
    ORDER_METADATA: Whose.ORDER,
}


def proved(committed: OffsetAndMetadata) -> int | None:
    """This group offset, if the service has set it behind a checkpoint."""
    return committed.offset if whose(committed) is Whose.OURS else None


def is_ours(committed: OffsetAndMetadata) -> bool:
    """Whether the service has set this group offset, behind a checkpoint or before there was one."""
    return whose(committed) in (Whose.OURS, Whose.FIRST)


def whose(committed: OffsetAndMetadata) -> Whose:
    """Who has set this group offset."""
    return _WHOSE.get(committed.metadata, Whose.FOREIGN)
