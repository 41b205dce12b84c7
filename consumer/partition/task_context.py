"""What the tasks of one member of a pipeline share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from consumer.events.record_key import KeyWatch
from consumer.feedback.reader import FeedbackReader
from consumer.history.topic import HistoryTopic
from consumer.homes.whole_input import WholeInput
from consumer.input.former_input import StageBefore
from consumer.input.progress import Before
from consumer.kafka.partitioning import Partitioner
from consumer.partition.owned import OwnerContext
from consumer.partition.recall import ReadRecord
from consumer.partition.unsilencing import ReadRecords
from consumer.pipeline import Pipeline
from consumer.silences.reader import SilenceReader
from providers.delivery.delivery import Delivery
from state.violation import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext(OwnerContext):
    """That, beside what the tasks of any member share."""

    pipeline: Pipeline
    delivery: Delivery
    quiescent_seconds: float
    feedback: FeedbackReader | None = None
    """None: this member takes no feedback."""
    stage_progress: Before | None = None
    """None: no repartition stage stands before these tasks."""
    key_watch: KeyWatch | None = None
    """None: nobody asks how the records are keyed."""
    whole: WholeInput | None = None
    """None: nobody asks how many partitions there are, and homes never move."""
    partitioner: Partitioner | None = None
    """How producers choose a partition; None: that is found out."""
    tell_change: Callable[[Violation, int], None] | None = None
    """Takes an allowed event that is told as a change, with the bytes of its record; None: none is."""
    former_stage: StageBefore | None = None
    """The repartition stage that there may have been; None: there is one now, or nobody asks."""
    feedback_topic: str = ""
    history: HistoryTopic | None = None
    """None: no history is wanted."""
    read_record: ReadRecord | None = None
    """How an event is read back; None: by a client."""
    read_records: ReadRecords | None = None
    """How silenced events are read again; None: by a client."""
    silences: SilenceReader | None = None
    """Reads silences, which the pipeline asks; None: nobody does."""
    told_unreadable: set[tuple[int, int]] = field(default_factory=set)
    """Which records of the state somebody has been told of already (`LeftAlone`)."""
