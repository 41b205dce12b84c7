"""Whether homes have ever moved, as the group's offsets tell it: nobody may wait for marks that nobody writes."""

import pytest
from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import BEGINNING_METADATA, COMMIT_METADATA, START_METADATA
from consumer.input.first_homes import have_never_moved

DECIDED = OffsetAndMetadata(7, COMMIT_METADATA)
BEGINNING, START = OffsetAndMetadata(0, BEGINNING_METADATA), OffsetAndMetadata(7, START_METADATA)
FOREIGN = OffsetAndMetadata(3, "")


@pytest.mark.parametrize("own", [BEGINNING, START])
@pytest.mark.parametrize("others", [[], [None, None], [BEGINNING, None], [START, START]])
def test_a_pipeline_that_just_begins_has_never_moved(
    own: OffsetAndMetadata, others: list[OffsetAndMetadata | None]
) -> None:
    assert have_never_moved(has_checkpoint=False, own=own, others=others)


@pytest.mark.parametrize("others", [[DECIDED], [None, DECIDED], [DECIDED, BEGINNING]])
def test_a_partition_that_nobody_has_decided_beside_others_that_are_was_added(
    others: list[OffsetAndMetadata | None],
) -> None:
    assert not have_never_moved(has_checkpoint=False, own=BEGINNING, others=others)


def test_a_partition_whose_state_is_gone_was_not_added() -> None:
    assert have_never_moved(has_checkpoint=False, own=DECIDED, others=[DECIDED, DECIDED])


@pytest.mark.parametrize("others", [[], [DECIDED], [DECIDED, FOREIGN]])
def test_a_service_that_is_upgraded_has_never_moved(others: list[OffsetAndMetadata | None]) -> None:
    assert have_never_moved(has_checkpoint=True, own=DECIDED, others=others)


@pytest.mark.parametrize("others", [[None], [DECIDED, BEGINNING], [DECIDED, None]])
def test_unless_the_topic_has_grown_at_the_same_time(others: list[OffsetAndMetadata | None]) -> None:
    assert not have_never_moved(has_checkpoint=True, own=DECIDED, others=others)
