"""A whole task whose log becomes another one: what it holds, what it commits, what it tells (design section 17)."""

from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import COMMIT_METADATA, START_METADATA
from providers.answer import Unavailable
from state.anchors import anchor_of
from state.records import CHECKPOINT_KEY, Position, decode_position
from tests.support.delivery_setting import Partition, Setting

DOWN = Unavailable(503, "down")


def checkpoint(partition: Partition) -> Position:
    """What the last checkpoint says of how far the task has come."""
    return decode_position(partition.kafka.state[CHECKPOINT_KEY] or b"")


def replace_log(partition: Partition, kept: int) -> None:
    """Cut the log off behind its first so many records."""
    del partition.input.records[kept:]
    partition.input.next = 0


def test_each_checkpoint_has_the_anchor_of_the_record_before_its_position() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a", "b", "c")
    setting.run(2)
    place = checkpoint(partition)
    assert place.offset == 3
    assert place.anchors[0] == anchor_of(partition.input.records[2])
    setting.restart()
    assert partition.running.position == 3


def test_a_proof_is_known_by_a_checkpoint_that_says_nothing_else() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a")
    setting.run(6)
    task = partition.running
    assert task.committed == OffsetAndMetadata(1, COMMIT_METADATA)
    assert checkpoint(partition).proof == 0
    task.proved(task.committed)
    setting.run(6)
    assert checkpoint(partition).proof == 1
    written = partition.kafka.end
    task.proved(task.committed)
    setting.run(20)
    assert partition.kafka.end == written, "and then there is nothing more to say"


def test_the_last_checkpoint_knows_of_the_commit_behind_it() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a", "b")
    setting.run(1)
    setting.release(partition)
    assert checkpoint(partition).proof == 2
    setting.assign(partition)


def test_a_first_start_stays_marked_until_there_is_a_checkpoint() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    assert partition.running.committed == OffsetAndMetadata(0, START_METADATA)
    setting.run(6)
    assert partition.running.committed == OffsetAndMetadata(0, COMMIT_METADATA)


def test_what_is_owed_holds_no_offset_of_a_log_that_is_gone() -> None:
    setting = Setting(lambda call: DOWN)
    (partition,) = setting.partitions
    setting.occur("a", "b")
    setting.run(6)
    assert {alert.owed.pins_offset for alert in partition.state().values() if alert.owed is not None} == {0, 1}
    setting.crash()
    replace_log(partition, 0)
    setting.start()
    setting.occur("c", "d", "e")
    setting.run(6)
    task = partition.running
    assert task.position == 3
    assert task.committed == OffsetAndMetadata(0, COMMIT_METADATA), "that of the new log that is owed"
    assert {key: alert.owed.pins_offset for key, alert in partition.state().items() if alert.owed is not None} == {
        "forbidden_path:a": None,
        "forbidden_path:b": None,
        "forbidden_path:c": 0,
        "forbidden_path:d": 1,
        "forbidden_path:e": 2,
    }


def test_of_a_log_that_was_truncated_it_holds_what_is_left() -> None:
    setting = Setting(lambda call: DOWN)
    (partition,) = setting.partitions
    for session in "abcd":
        setting.occur(session)
    setting.run(6)
    setting.crash()
    replace_log(partition, 3)
    setting.start()
    assert partition.running.position == 3
    setting.run(6)
    assert {key: alert.owed.pins_offset for key, alert in partition.state().items() if alert.owed is not None} == {
        "forbidden_path:a": 0,
        "forbidden_path:b": 1,
        "forbidden_path:c": 2,
        "forbidden_path:d": None,
    }


def test_everything_of_a_new_topic_is_told_and_nothing_twice() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a", "b")
    setting.run(6)
    setting.crash()
    replace_log(partition, 0)
    setting.start()
    setting.occur("c", "d", "e")
    setting.run(6)
    setting.restart()
    setting.run(6)
    assert setting.faults == []
    assert sorted(call.session for call in setting.calls if call.kind == "trigger") == ["a", "b", "c", "d", "e"]


def test_the_offset_of_another_is_neither_obeyed_nor_proved_again() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a", "b")
    setting.run(6)
    partition.input.committed = OffsetAndMetadata(2, COMMIT_METADATA)
    setting.crash()
    partition.input.committed = OffsetAndMetadata(7, "")
    setting.start()
    assert partition.running.position == 2
    assert partition.running.committed == OffsetAndMetadata(2, COMMIT_METADATA)


def test_a_rewind_is_in_a_checkpoint_at_once() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    setting.occur("a", "b")
    setting.run(6)
    partition.running.proved(OffsetAndMetadata(2, COMMIT_METADATA))
    setting.run(6)
    setting.crash()
    partition.input.committed = OffsetAndMetadata(1, "")
    setting.start()
    setting.run(1)
    place = checkpoint(partition)
    assert (place.offset, place.obeyed, place.proof) == (1, 1, 1)
    assert partition.running.committed == OffsetAndMetadata(1, COMMIT_METADATA)
    setting.run(6)
    assert checkpoint(partition).offset == 2, "the second is decided again"
    partition.running.proved(OffsetAndMetadata(2, COMMIT_METADATA))
    setting.run(6)
    assert (checkpoint(partition).obeyed, checkpoint(partition).proof) == (None, 2)
    assert len([call for call in setting.calls if call.kind == "trigger"]) == 2, "what is open is not told again"
