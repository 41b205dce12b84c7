"""Who has set a group offset, by the metadata of the commit (design section 17, "Offsets of others"). Pure."""

from enum import Enum, auto

from aiokafka.structs import OffsetAndMetadata

COMMIT_METADATA = "clawdstrike-alerting"
"""The metadata of the commits of a task that has a checkpoint. It must never change: earlier releases know only this
text, and obey an offset with any other as an operator's."""

START_METADATA = f"{COMMIT_METADATA} start"
"""The metadata of the first commit of a pipeline that has never run: its configured start, before any checkpoint."""

BEGINNING_METADATA = f"{COMMIT_METADATA} beginning"
"""The metadata of the first commit of any other partition without an offset: its beginning."""

ORDER_METADATA = f"{COMMIT_METADATA} order"
"""The metadata of an offset that ``offsets rewind`` or ``offsets skip`` has set: it is obeyed, whatever it is."""


class Whose(Enum):
    """Who has set a group offset."""

    OURS = auto()
    """The service, after a checkpoint."""
    FIRST = auto()
    """The service, before there was a checkpoint."""
    ORDER = auto()
    """An operator, by our own command."""
    FOREIGN = auto()
    """Anybody else: Kafka's tools, or a reader with our group's id."""


_WHOSE = {
    COMMIT_METADATA: Whose.OURS,
    START_METADATA: Whose.FIRST,
    BEGINNING_METADATA: Whose.FIRST,
    ORDER_METADATA: Whose.ORDER,
}


def proved(committed: OffsetAndMetadata) -> int | None:
    """This group offset if the service has set it after a checkpoint, else None."""
    return committed.offset if whose(committed) is Whose.OURS else None


def is_ours(committed: OffsetAndMetadata) -> bool:
    """Whether the service has set this group offset, after a checkpoint or before there was one."""
    return whose(committed) in (Whose.OURS, Whose.FIRST)


def whose(committed: OffsetAndMetadata) -> Whose:
    """Who has set this group offset."""
    return _WHOSE.get(committed.metadata, Whose.FOREIGN)
