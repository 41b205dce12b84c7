"""A replay waits until what an earlier owner may have decided is decided again: the first event decides the route."""

from types import SimpleNamespace
from typing import Any

from consumer.events.event import Decoder
from consumer.events.filter import Filter
from consumer.feedback.records import Replay
from consumer.tasks.alerting.outbox import TaskOutbox
from consumer.timing.clock import Clock
from state.store import Store
from state.violation import Record
from tests.support.history import no_steps


def outbox() -> TaskOutbox:
    unasked: Any = SimpleNamespace()
    provider = SimpleNamespace(route_of=lambda violation: "default")
    decoder = Decoder(Filter(), None, 1024)
    pipeline: Any = SimpleNamespace(timeout_seconds=1.0, provider=provider, decoder=decoder)
    return TaskOutbox(
        partition=0,
        pipeline=pipeline,
        store=Store(),
        delivery=unasked,
        progress=unasked,
        clock=Clock(lambda: 100.0, lambda: 0.0),
        metrics=unasked,
        log=unasked,
        urgent=lambda: None,
        dead_letter=lambda letter: None,
        notified=lambda: None,
        steps=no_steps(),
    )


def test_a_replay_waits_until_all_is_decided_again() -> None:
    record = Record("events", 0, 5, 100, None, b"no event")
    replay = Replay("pagerduty", record, record, "0/1")
    restored = outbox()
    for _ in restored.restored([], 10, None):
        pass
    assert not restored.has_room_for(replay, 9)
    assert restored.has_room_for(replay, 10)


def test_where_there_was_no_owner_it_need_not_wait() -> None:
    record = Record("events", 0, 5, 100, None, b"no event")
    fresh = outbox()
    for _ in fresh.restored([], 0, None):
        pass
    assert fresh.has_room_for(Replay("pagerduty", record, record, "0/1"), 0)
