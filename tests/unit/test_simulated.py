"""What is simulated is what is told: the real task, outbox and delivery beside `Simulated`, on random traffic."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.tuning.simulated import Said, Saying, Simulated
from providers.notification import Trigger
from state.violation import Severity
from tests.support.events import event, session_end
from tests.support.simulation import EPOCH, QUIET, RENOTIFY, TIMEOUT, Simulation
from tests.support.walks import SAYS
from tests.support.wire import OnTheWire

Heard = tuple[str, float]
"""What the provider was told, and when."""

UNSURE = 3.5
"""Seconds around the end of a quiet within which either may come about: a tick, the span that the store keeps moments
to, and the checkpoint."""


class Watched(Simulation):
    """One partition of the real service, in virtual time, whose provider accepts at once."""

    @property
    def heard(self) -> dict[str, list[Heard]]:
        """What the provider was told of each key."""
        heard: dict[str, list[Heard]] = defaultdict(list)
        for at, request in self.provider.landings:
            heard[request.key].append((_what(request), at))
        return heard

    @property
    def now(self) -> float:
        return self.world.true_time()

    def settle(self) -> None:
        """All that may leave has left, and is answered and committed."""
        for _ in range(3):
            while self.on_the_wire:
                self.step("answer", 0)
            self.step("commit", 0)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step("tick", 0)
            self.settle()

    def say(self, fields: dict[str, Any], *, is_over: bool = False, is_decided: bool = True) -> None:
        """An event is in the topic now, and is decided (or together with the next); ``is_over``: what it is about is
        over."""
        key = f"forbidden_path:{fields['session']['id']}"
        if fields["event_type"] != "session_end":
            self.events.expect(key, Severity.CRITICAL)
        self.events.produce(fields)
        if is_over:
            self.events.note_end(key)
        if is_decided:
            self.step("decide", 4)
            self.settle()

    def traffic(self, steps: list[tuple[int, int]]) -> None:
        last: dict[str, float] = {}
        for kind, gap in steps:
            self.pass_time(gap)
            session, _ = SAYS[kind % len(SAYS)]
            key = f"forbidden_path:{session}"
            told = [at for what, at in self.heard[key] if what != "resolve"]
            while abs(self.now - last.get(key, 0.0) - QUIET) < UNSURE or any(
                abs(self.now - at - limit) < 1.5 for at in told for limit in (RENOTIFY, TIMEOUT)
            ):
                self.pass_time(1)
            if kind >= 2 * len(SAYS):
                self.step("end", 0 if session == "s2" else 1)
            if kind < len(SAYS) or kind >= 3 * len(SAYS):
                self.step("event", kind % len(SAYS))
                last[key] = self.now
            self.step("decide", 4)
            self.settle()
            if kind >= 2 * len(SAYS):
                self.pass_time(1)  # until the resolve is committed either may come about
        self.pass_time(QUIET + 10)

    def simulated(self) -> dict[str, list[Heard]]:
        """The same by the simulation, of the records that there were."""
        heard: dict[str, list[Heard]] = defaultdict(list)

        def said(it: Said) -> None:
            what = "resolve" if it.what is Saying.RESOLVE else f"{it.what.value} {it.owed.severity.label}"  # type: ignore[union-attr]
            heard[it.alert.dedup_key].append((what, it.at))

        simulated = Simulated(self.member.make_pipeline(), said)
        for record in self.events.input.records:
            simulated.decide(record, record.timestamp / 1000)
        simulated.finish(self.now)
        return heard


def _what(request: OnTheWire) -> str:
    trigger = request.dispatch.notification
    if not isinstance(trigger, Trigger):
        return "resolve"
    what = "raised" if trigger.raised else "again" if trigger.again else "page"
    return f"{what} {trigger.severity.label}"


@given(
    st.lists(
        st.tuples(st.integers(0, 4 * len(SAYS) - 1), st.sampled_from([0, 1, 2, 5, 9, 11, 14, 25, 40, 58, 70])),
        max_size=14,
    )
)
def test_what_is_simulated_is_what_the_service_tells(steps: list[tuple[int, int]]) -> None:
    """An event, the end of a session, or both at once, by turns for two keys, with gaps about all of the limits."""
    service = Watched()
    try:
        service.traffic(steps)
        simulated = service.simulated()
        for key in {*service.heard, *simulated}:
            real, ours = service.heard[key], simulated[key]
            assert [what for what, _ in ours] == [what for what, _ in real], (key, real, ours, service.trace)
            for (what, here), (_, there) in zip(ours, real, strict=True):
                assert abs(here - there) <= UNSURE, (key, what, here - EPOCH, there - EPOCH)
    finally:
        service.close()


@pytest.mark.parametrize("told_before", [False, True])
@pytest.mark.parametrize(("age", "is_over"), [(2.0, True), (600.0, True), (-1.0, False)])
def test_what_a_post_tells_that_the_end_of_its_session_has_overtaken_is_told_and_over(
    age: float, is_over: bool, told_before: bool
) -> None:
    key, service = "forbidden_path:s1", Watched()
    try:
        if told_before:
            service.say(event(session="s1", at=service.now))
            service.pass_time(5)
        service.say(session_end("s1", at=service.now), is_over=True)
        service.pass_time(3)
        service.say(event(session="s1", at=service.now - 3 - age), is_over=is_over)
        service.pass_time(3)
        before = ["page critical", "resolve"] if told_before else []
        expected = [*before, "page critical", *(["resolve"] if is_over else [])]
        assert [what for what, _ in service.heard[key]] == expected
        assert [what for what, _ in service.simulated()[key]] == expected
    finally:
        service.close()


def test_an_end_is_known_to_the_very_next_record() -> None:
    service = Watched()
    try:
        service.say(session_end("s1", at=service.now), is_over=True, is_decided=False)
        service.say(event(session="s1", at=service.now - 3), is_over=True)
        service.pass_time(3)
        assert [what for what, _ in service.heard["forbidden_path:s1"]] == ["page critical", "resolve"]
    finally:
        service.close()


def test_the_end_of_one_session_ends_no_other_and_is_not_remembered_for_ever() -> None:
    service = Watched()
    try:
        service.say(session_end("s1", at=service.now))
        service.say(event(session="s2", at=service.now - 1))
        service.pass_time(3)
        assert [what for what, _ in service.heard["forbidden_path:s2"]] == ["page critical"]
        ended_at = service.now - 3
        service.pass_time(1000)
        service.say(event(session="s1", at=ended_at - 1))
        service.pass_time(3)
        assert [what for what, _ in service.heard["forbidden_path:s1"]] == ["page critical"]
    finally:
        service.close()
