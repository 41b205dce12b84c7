"""The event that an alert is about: from what it owes, or from where that stands which its provider was told of."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from msgspec.structs import replace

from consumer.cli.last_event import LastEvent, last_event, names_of, place_of
from consumer.events.keys import KeyTemplate
from consumer.events.severities import AS_SAID
from providers.notification import Origin
from state.alert import Alert, Notified, Owed, Status, source
from state.violation import Record, Severity
from tests.support.events import encode, event

TEMPLATE = KeyTemplate.parse("{guard}:{session_id}")
RECORD = Record("keyed", 4, 17, 1000, b"s", encode(event(session="s", event_id="e-1", reason="why")))
ALERT = Alert("forbidden_path:s", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default")
TOLD = replace(
    ALERT,
    last_notified=Notified(Severity.HIGH, 2.0, None, 17),
    source=source("forbidden_path", "acme-corp", "keyed", 4),
)
OWING = replace(TOLD, owed=Owed(replace(RECORD, offset=30), Severity.HIGH, 1.0, 30, 30))

Read = Callable[[str, int, int], Awaitable[Record | None]]


def gives(record: Record | None = None, error: Exception | None = None) -> Read:
    async def read(topic: str, partition: int, offset: int) -> Record | None:
        assert (topic, partition, offset) == ("keyed", 4, 17)
        if error is not None:
            raise error
        return record

    return read


def asked(alert: Alert, read: Read) -> LastEvent:
    return asyncio.run(last_event(alert, TEMPLATE, AS_SAID, read))


def test_what_was_told_is_read_where_it_stands() -> None:
    found = asked(TOLD, gives(RECORD))
    assert found.says is not None
    assert (found.place, found.says.event_id, found.says.reason) == (Origin("keyed", 4, 17), "e-1", "why")
    assert found.note is None


def test_what_is_owed_comes_before_what_was_told_and_is_not_read() -> None:
    found = asked(OWING, gives(error=AssertionError("it is in the state")))
    assert found.says is not None
    assert (found.place, found.says.event_id) == (Origin("keyed", 4, 30), "e-1")


@pytest.mark.parametrize(
    ("read", "note"),
    [
        (gives(None), "not there any more: its topic no longer has the record"),
        (gives(error=TimeoutError()), "not read: no answer"),
        (
            gives(error=TopicAuthorizationFailedError("keyed")),
            "not read: [Error 29] TopicAuthorizationFailedError: keyed",
        ),
        (gives(replace(RECORD, value=encode(event(session="other")))), "another event is there"),
        (gives(replace(RECORD, value=b"{}")), "another event is there"),
        (gives(replace(RECORD, value=None)), "another event is there"),
    ],
)
def test_what_cannot_be_read_is_one_plain_line(read: Read, note: str) -> None:
    found = asked(TOLD, read)
    assert (found.place, found.says) == (Origin("keyed", 4, 17), None)
    assert found.note is not None
    assert found.note.startswith(note)


@pytest.mark.parametrize(
    ("alert", "note"),
    [
        (replace(TOLD, last_notified=Notified(Severity.HIGH, 2.0), source=None), "not known: an earlier release"),
        (replace(TOLD, last_notified=None, overflow=Severity.HIGH), "dead-lettered, as its route owed too much"),
        (replace(TOLD, last_notified=None), "not known: it was dead-lettered"),
        (replace(ALERT, owed=Owed(replace(RECORD, value=b"{}"), Severity.HIGH, 1.0, 1, 1)), "no event: "),
    ],
)
def test_why_it_is_not_known(alert: Alert, note: str) -> None:
    found = asked(alert, gives(error=AssertionError("there is nothing to be read")))
    assert found.says is None
    assert found.note is not None
    assert found.note.startswith(note)
    assert (found.place is None) is (alert.owed is None)


def test_guard_and_tenant_are_known_without_the_event() -> None:
    assert names_of(TOLD) == ("forbidden_path", "acme-corp")
    assert names_of(replace(TOLD, last_notified=None)) == ("forbidden_path", "acme-corp")
    assert names_of(replace(TOLD, source=source(None, None, "keyed", 4))) is None
    assert names_of(ALERT) is None
    assert names_of(OWING) == ("forbidden_path", "acme-corp"), "an earlier release owed it: they are in the record"
    assert names_of(replace(OWING, owed=Owed(replace(RECORD, value=b"{}"), Severity.HIGH, 1.0, 1, 1))) is None
    assert place_of(ALERT) is None
