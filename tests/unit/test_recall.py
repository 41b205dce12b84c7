"""The event that an alert's provider was told last, read back, or stood in for."""

from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from msgspec.structs import replace

from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from consumer.partition.recall import Recall, told_stand_in
from state.alert import ELSEWHERE, Alert, Occurrence, Policy, occurred, trigger_accepted
from state.violation import Record, Severity
from tests.support.events import encode, event

T0 = 1_800_000_000.0
KEY = "forbidden_path:sess-1"
RECORD = Record("events", 3, 17, int(T0 * 1000), b"sess-1", encode(event(at=T0)))


class Log:
    def __init__(self) -> None:
        self.names: list[str] = []

    def warning(self, name: str, **fields: Any) -> None:
        self.names.append(name)


def told() -> Alert:
    policy = Policy(300, 3600, 1800, 604_800)
    occurrence = Occurrence(Severity.HIGH, T0, RECORD, guard="forbidden_path", tenant="acme-corp")
    alert, _ = occurred(None, KEY, "sess-1", occurrence, T0, policy)
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", T0, T0)


def recall(answer: Record | Exception | None, log: Log, asked: list[tuple[str, int, int]] | None = None) -> Recall:
    async def read(topic: str, partition: int, offset: int) -> Record | None:
        if asked is not None:
            asked.append((topic, partition, offset))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Recall(read, KeyTemplate.parse("{guard}:{session_id}"), "events", log)  # type: ignore[arg-type]


async def test_it_is_read_from_where_it_stands_once() -> None:
    asked: list[tuple[str, int, int]] = []
    log = Log()
    found, alert = recall(RECORD, log, asked), told()
    assert found.record(alert) is None
    assert found.is_wanted
    await found.read()
    assert not found.is_wanted
    assert found.record(replace(alert, occurrences=7)) is RECORD
    assert asked == [("events", 3, 17)]
    assert log.names == []
    await found.read()  # nothing is wanted
    assert asked == [("events", 3, 17)]


async def test_what_was_read_for_one_is_none_of_another_s() -> None:
    found, alert = recall(RECORD, Log()), told()
    found.record(alert)
    await found.read()
    assert found.record(replace(alert, dedup_key="another")) is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        KafkaConnectionError(),
        TimeoutError(),
        replace(RECORD, value=b"no event"),
        replace(RECORD, value=encode(event(session="another", at=T0))),
    ],
)
async def test_where_it_is_not_there_something_stands_in_for_it(answer: Record | Exception | None) -> None:
    log = Log()
    found, alert = recall(answer, log), told()
    found.record(alert)
    await found.read()
    record = found.record(alert)
    assert record is not None
    assert log.names[-1] == "told_event_not_found"
    violation = violation_of(record)
    assert (violation.guard, violation.tenant_id, violation.severity) == (
        "forbidden_path", "acme-corp", Severity.HIGH,
    )  # fmt: skip
    assert (violation.session_id, record.offset) == ("sess-1", ELSEWHERE)


async def test_of_an_earlier_release_it_is_not_known_where_it_stands() -> None:
    alert = told()
    assert alert.told is not None
    for old in (replace(alert, source=None), replace(alert, told=replace(alert.told, offset=None))):
        found = recall(RuntimeError("nobody shall ask"), Log())
        found.record(old)
        await found.read()
        assert found.record(old) is not None
    assert (
        violation_of(told_stand_in(replace(alert, source=None, told=None, session_id=None), "events")).guard
        == "unknown"
    )
