"""The offsets of a group, whose coordinator may not know them for a moment."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.structs import OffsetAndMetadata

import consumer.kafka.group_offsets
from consumer.kafka.group_offsets import coordinated, group_offsets

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Admin:
    """Gives one answer after the other; without any offset it was an error that the client does not look at."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def list_consumer_group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.group_offsets, "_AGAIN_SECONDS", 0.0)


async def test_an_answer_without_offsets_is_none_and_is_asked_for_again() -> None:
    found = {A: OffsetAndMetadata(7, "m"), B: OffsetAndMetadata(-1, "")}
    admin: Any = Admin({}, NotCoordinatorForGroupError(), found)
    assert await coordinated(lambda: group_offsets(admin, "g", [A, B])) == {A: found[A], B: None}


async def test_it_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.group_offsets, "COORDINATOR_SECONDS", -1.0)
    admin: Any = Admin({})
    with pytest.raises(GroupLoadInProgressError, match="group g: its coordinator does not give the offsets"):
        await coordinated(lambda: group_offsets(admin, "g", [A]))
