"""What the tasks of one member of a pipeline share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from consumer.deciding.pipeline import Pipeline
from consumer.feedback.reader import FeedbackReader
from consumer.history.topic import HistoryTopic
from consumer.input.former_input import StageBefore
from consumer.input.progress import Before
from consumer.kafka.partitioning import Partitioner
from consumer.silences.reader import SilenceReader
from consumer.tasks.homes.whole_input import WholeInput
from consumer.tasks.partition.key_watch import KeyWatch
from consumer.tasks.partition.read_back import ReadRecords
from consumer.tasks.partition.task import OwnerContext
from providers.delivery.delivery import Delivery
from state.violation import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext(OwnerContext):
    """What the tasks of one member of a pipeline's group share, besides what is in `OwnerContext`."""

    pipeline: Pipeline
    delivery: Delivery
    quiescent_seconds: float
    feedback: FeedbackReader | None = None
    """Reads the feedback topic; None: this member takes no feedback."""
    stage_progress: Before | None = None
    """How far the repartition stage before these tasks has come; None: there is no stage."""
    key_watch: KeyWatch | None = None
    """Counts records that are keyed otherwise than ``kafka.event_key`` says; None: they are not counted."""
    whole: WholeInput | None = None
    """How far all partitions of the input are decided; None: the number of partitions is not watched, and alerts never
    move to another partition."""
    partitioner: Partitioner | None = None
    """How producers choose the partition of a key; None: it is found out from the records."""
    tell_change: Callable[[Violation, int], None] | None = None
    """Called with each allowed event that is sent as a change event, and the size of its record in bytes; None: none is
    sent."""
    former_stage: StageBefore | None = None
    """The repartition stage that an earlier configuration may have had; None: there is one now, or it is not looked
    for."""
    feedback_topic: str = ""
    history: HistoryTopic | None = None
    """Where steps of alerts are written; None: no history is written."""
    read_records: ReadRecords | None = None
    """How events are read back; None: by a client."""
    silences: SilenceReader | None = None
    """Reads the silences that the pipeline asks; None: they are not read."""
    told_unreadable: set[tuple[int, int]] = field(default_factory=set)
    """The unreadable records of the state that were logged before (`LeftAlone`)."""
