"""The event that an alert's provider was told last, read back, or stood in for."""

from collections.abc import AsyncGenerator, Collection
from functools import cache
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from msgspec.structs import replace

from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from consumer.tasks.partition.read_back import AT_A_TIME, BYTES_AT_A_TIME
from consumer.tasks.partition.recall import Recall, told_stand_in
from state.alert import Alert
from state.answers import trigger_accepted
from state.occurrences import ELSEWHERE, Occurrence, occurred
from state.policy import Policy
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


def key_of(record: Record) -> str | None:
    try:
        return KeyTemplate.parse("{guard}:{session_id}").render(violation_of(record))
    except ValueError:
        return None


def told() -> Alert:
    policy = Policy(300, 3600, 1800, 604_800)
    occurrence = Occurrence(Severity.HIGH, T0, RECORD, guard="forbidden_path", tenant="acme-corp")
    alert, _ = occurred(None, KEY, "sess-1", occurrence, T0, policy)
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", T0, T0)


def recall(answer: Record | Exception | None, log: Log, asked: list[tuple[str, int, int]] | None = None) -> Recall:
    async def read(places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        if asked is not None:
            asked.extend(places)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            yield answer

    return Recall(read, key_of, "events", log)  # type: ignore[arg-type]


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


def several(number: int) -> list[Alert]:
    """Alerts that were told of the events at offsets 0, 1, …"""
    alerts = []
    for offset in range(number):
        alert = told()
        assert alert.last_notified is not None
        key = f"forbidden_path:s-{offset}"
        alerts.append(replace(alert, dedup_key=key, last_notified=replace(alert.last_notified, offset=offset)))
    return alerts


@cache
def record_at(offset: int) -> Record:
    return replace(RECORD, offset=offset, value=encode(event(session=f"s-{offset}", at=T0)))


async def test_no_more_is_read_than_has_room() -> None:
    async def reads(places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        for offset in (0, 1, 2):
            record = record_at(offset)
            assert record.value is not None
            yield replace(record, value=record.value + b" " * (BYTES_AT_A_TIME // 2))

    log = Log()
    found = Recall(reads, key_of, "events", log)  # type: ignore[arg-type]
    alerts = several(3)
    for alert in alerts:
        found.want(alert)
    await found.read()
    assert [found.record(alert) is not None for alert in alerts] == [True, True, False]
    assert log.names == []


async def test_what_is_asked_for_soon_is_read_together() -> None:
    read: list[int] = []

    async def reads(places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        read.append(len(places))
        for _, _, offset in sorted(places, reverse=True):
            yield record_at(offset)

    found = Recall(reads, key_of, "events", Log())  # type: ignore[arg-type]
    alerts = several(AT_A_TIME + 10)
    assert found.record(alerts[0]) is None
    for alert in alerts[1:]:
        found.want(alert)
    await found.read()
    assert read == [AT_A_TIME]
    for offset, alert in enumerate(alerts[:AT_A_TIME]):
        found.want(alert)
        assert not found.is_wanted, "it is there"
        assert found.record(alert) == record_at(offset)
    assert found.record(alerts[AT_A_TIME]) is None


async def test_of_those_that_are_not_read_in_time_the_one_that_was_asked_for_is_stood_in_for() -> None:
    async def reads(places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        yield record_at(2)
        raise KafkaConnectionError

    log = Log()
    found = Recall(reads, key_of, "events", log)  # type: ignore[arg-type]
    alerts = several(4)
    found.want(alerts[3])
    assert found.record(alerts[0]) is None
    for alert in alerts:
        found.want(alert)
    await found.read()
    assert log.names == ["told_event_unread", "told_event_not_found"]
    stands_in, read = found.record(alerts[0]), found.record(alerts[2])
    assert stands_in is not None
    assert (stands_in.offset, read) == (ELSEWHERE, record_at(2))
    assert [found.record(alerts[1]), found.record(alerts[3])] == [None, None]
    assert found.is_wanted


async def test_what_was_told_since_is_another_event() -> None:
    found, alert = recall(RECORD, Log()), told()
    found.want(alert)
    await found.read()
    assert alert.last_notified is not None
    assert found.record(replace(alert, last_notified=replace(alert.last_notified, offset=18))) is None


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
    assert alert.last_notified is not None
    for old in (replace(alert, source=None), replace(alert, last_notified=replace(alert.last_notified, offset=None))):
        found = recall(RuntimeError("nobody shall ask"), Log())
        found.record(old)
        await found.read()
        assert found.record(old) is not None
    assert (
        violation_of(told_stand_in(replace(alert, source=None, last_notified=None, session_id=None), "events")).guard
        == "unknown"
    )
