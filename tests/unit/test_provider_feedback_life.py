"""An alert and its provider, where people and programs act: whatever is heard of that late, doubled, in any order, or
not at all (design section 20).

The provider has at most one incident of the key, a clock of its own, and may act up to `TIMEOUT` after it has accepted
a trigger. Promised is: what is heard ends the alert only if the provider has no incident. Once everything was heard,
neither side has an incident of which the other knows nothing, nothing has occurred untold since the last one was
resolved, and nobody counts as having taken what nobody has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.feedback.records import FromProvider
from providers.answer import Accepted
from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import Alert, Former, Owed, Status
from state.answers import resolve_answered, trigger_accepted
from state.departures import departed
from state.due import Due, due
from state.held import is_silenced
from state.occurrences import Occurrence, occurred
from state.over import over
from state.policy import Policy
from state.provider_feedback import Applied, Happened, Ignored, TellAgain, What, happened, told_again
from state.silenced import silenced
from state.violation import Record, Severity
from tests.support.delivery_setting import EPOCH, Call, Setting

T0, TIMEOUT = 1_800_000_000.0, 30.0
POLICY = Policy(window_seconds=60, renotify_seconds=600, quiet_seconds=1800, forget_seconds=604_800)
RECORD = Record("events", 0, 0, int(T0 * 1000), None, b"{}")
WAITS = (0.1, 0.4, 0.7, 3.0, 20.0, 31.0, 45.0, 700.0)

Step = tuple[str, int]
STEPS = (
    *("event", "event", "send", "answer", "answer", "acknowledge", "unacknowledge", "resolve", "integration_resolves"),
    *("hear", "hear", "hear_twice", "wait", "wait", "over", "lose", "command"),
)
WALKS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=40)


class BrokenPromise(AssertionError):
    pass


@dataclass
class World:
    """``skew``: by how much the provider's clock is ahead. Rules can be left out, to see that they are missed.

    ``has_moved``: the alert has left an integration whose key is gone, where its incident is still open.
    """

    skew: float
    decide: Callable[[Alert, Happened, float], object] = happened
    has_moved: bool = False
    now: float = T0 + 0.05
    alert: Alert | None = None
    incident: str | None = None
    is_taken: bool = False
    opened: int = 0
    wire: tuple[Owed | None, Alert, float, float] | None = None
    lands_at: float | None = None
    queue: list[Happened] = field(default_factory=list)
    has_lost: bool = False
    has_untold: bool = False
    has_silent: bool = False
    """Something was silenced since the last incident was resolved, and is not over."""
    old_opened_at: float = 0.0
    opened_at: float = 0.0

    def __post_init__(self) -> None:
        if self.has_moved:
            self._tell_here()
            self.old_opened_at, self.now, self.incident = self.opened_at, self.now + TIMEOUT, None
            assert self.alert is not None
            self.alert = replace(departed(self.alert, None), orphans=(Former("digest", "old"),))
            self._tell_here()

    def _tell_here(self) -> None:
        for name in ("event", "send", "answer"):
            self.step(name, 0)

    def step(self, name: str, number: int) -> None:
        getattr(self, name)(number)

    # our side

    def event(self, number: int) -> None:
        severity = Severity.CRITICAL if number == 7 else Severity.HIGH
        record = replace(RECORD, timestamp=int(self.now * 1000))
        self.alert, _ = occurred(self.alert, "key", None, Occurrence(severity, self.now, record), self.now, POLICY)
        self.has_untold |= self.incident is None and self.lands_at is None

    def silenced(self, number: int) -> None:
        record = replace(RECORD, timestamp=int(self.now * 1000))
        occurrence = Occurrence(Severity.HIGH, self.now, record)
        self.alert = silenced(self.alert, "key", None, occurrence, {"all": T0 + 1e7}, self.now)
        self.has_silent |= self.incident is None and self.lands_at is None

    def over(self, number: int) -> None:
        """What is over before its end at the provider was heard of is not told any more."""
        if self.alert is not None and self.wire is None:
            self.alert = over(self.alert)
            self.has_silent = False
            self.has_untold = self.alert is not None and self.alert.owed is not None

    def command(self, number: int) -> None:
        """An operator acknowledges it."""
        if self.alert is not None and self.wire is None:
            self.alert = acknowledge(self.alert)

    def send(self, number: int) -> None:
        """A request leaves, and the provider accepts it; a resolve only once no trigger can land any more."""
        alert = self.alert
        if alert is None or self.wire is not None or (what := due(alert)) is None:
            return
        if what is Due.TRIGGER:
            self.land(self.lands_at)
            self.wire = alert.owed, alert, float(int(self.now + self.skew)), self.now
            self.lands_at = self.now + TIMEOUT * (number % 4) / 3
            self.land(self.now)
        elif what is Due.ACKNOWLEDGE:
            self.land(self.lands_at)  # it is taken in order
            self.wire = None, alert, float(int(self.now + self.skew)), self.now
            self.is_taken = self.incident is not None
        elif self.lands_at is None:
            self.wire = None, alert, 0.0, self.now
            self.close(by_integration=True)

    def answer(self, number: int) -> None:
        if self.wire is None:
            return
        (sent, before, date, sent_at), self.wire = self.wire, None
        assert self.alert is not None
        if sent is not None:
            self.alert = trigger_accepted(self.alert, sent, "default", date, self.now, sent_at)
        elif before.acknowledging:
            self.alert = acknowledge_answered(self.alert, accepted=True, date=date)
        else:
            self.alert = resolve_answered(self.alert, before)

    def wait(self, number: int) -> None:
        # No request is longer on its way than it may be.
        self.now += min(WAITS[number], TIMEOUT - 1.5) if self.wire is not None else WAITS[number]
        if self.wire is not None and number > 3:
            self.answer(0)
        self.land(self.now)

    def land(self, until: float | None) -> None:
        if self.lands_at is not None and until is not None and self.lands_at <= until:
            self.lands_at = None
            if self.incident is None:
                self.opened += 1
                self.incident, self.is_taken, self.opened_at = str(self.opened), False, self.now + self.skew
            self.has_untold = self.has_silent = False

    # the provider's side

    def tell(self, what: What, *, by_integration: bool = False) -> None:
        self.queue.append(Happened(what, self.now + self.skew, self.incident, by_integration, self.opened_at))
        self.now += 0.01  # two things are never at the same moment

    def old_acknowledge(self, number: int) -> None:
        self.tell_of_old(What.ACKNOWLEDGED)

    def old_resolve(self, number: int) -> None:
        self.tell_of_old(What.RESOLVED)

    def tell_of_old(self, what: What) -> None:
        """Of the incident that the alert has left, while it is the same alert."""
        if self.alert is not None and self.alert.orphans:
            self.queue.append(Happened(what, self.now + self.skew, "old", False, self.old_opened_at))
            self.now += 0.01

    def acknowledge(self, number: int) -> None:
        if self.incident is not None and not self.is_taken:
            self.is_taken = True
            self.tell(What.ACKNOWLEDGED)

    def unacknowledge(self, number: int) -> None:
        if self.incident is not None and self.is_taken:
            self.is_taken = False
            self.tell(What.UNACKNOWLEDGED)

    def resolve(self, number: int) -> None:
        self.close(by_integration=False)

    def integration_resolves(self, number: int) -> None:
        self.close(by_integration=True)

    def close(self, *, by_integration: bool) -> None:
        if self.incident is not None:
            self.tell(What.RESOLVED, by_integration=by_integration)
            self.incident, self.is_taken, self.has_silent = None, False, False

    # what is heard

    def hear(self, number: int, *, keep: bool = False) -> None:
        if not self.queue or self.wire is not None:
            return
        it = self.queue[number % len(self.queue)]
        if not keep:
            self.queue.remove(it)
        if self.alert is None or (it.incident == "old" and not self.alert.orphans):
            return  # the next alert of the key knows nothing of what this one has left
        found = self.decide(self.alert, it, TIMEOUT)
        if isinstance(found, Applied):
            self.alert = found.alert
            if self.alert is None and (self.incident is not None or self.lands_at is not None):
                raise BrokenPromise(f"{it} has ended what is open at the provider")
        elif isinstance(found, Ignored):
            self.alert = found.alert or self.alert
        elif isinstance(found, TellAgain):
            self.alert = told_again(self.alert, it, RECORD, found.is_repeat, self.now)

    def hear_twice(self, number: int) -> None:
        self.hear(number, keep=True)

    def lose(self, number: int) -> None:
        if self.queue:
            self.has_lost = True
            del self.queue[number % len(self.queue)]

    def rest(self) -> None:
        """Everything is heard, and told."""
        for _ in range(100):
            if self.wire is not None:
                self.answer(0)
            elif self.queue:
                self.hear(0)
            elif self.lands_at is not None:
                self.now = max(self.now, self.lands_at)
                self.land(self.now)
            elif self.alert is not None and due(self.alert) is not None:
                self.send(0)
            else:
                break
        if self.has_lost:
            return
        if (self.alert is None or is_silenced(self.alert)) != (self.incident is None):
            raise BrokenPromise(f"here {self.alert}, at the provider {self.incident}")
        if self.has_silent and self.alert is None:
            raise BrokenPromise("what was silenced since it was resolved is lost")
        if self.has_untold:
            raise BrokenPromise("what has occurred since it was resolved is not told")
        if self.alert is not None and self.alert.status is Status.ACKNOWLEDGED and not self.is_taken:
            raise BrokenPromise("nobody has taken it")


Decide = Callable[[Alert, Happened, float], object]


def walk(
    steps: list[Step], skew: float = 0.3, decide: Decide = happened, *, has_moved: bool = False, is_bot: bool = False
) -> None:
    """``is_bot``: in the end a program resolves each incident as soon as it is opened."""
    world = World(skew, decide, has_moved)
    for name, number in steps:
        world.step(name, number)
    world.rest()
    if is_bot:
        resolves_at_once(world)


def resolves_at_once(world: World) -> None:
    """Two pages are the most that may come of that: each is resolved, one of them is a repetition."""
    opened = world.opened
    for _ in range(6):
        world.resolve(0)
        world.rest()
    if world.incident is not None or world.opened > opened + 2:
        raise BrokenPromise(f"{world.opened - opened} pages, although nothing has occurred")


@given(WALKS, st.sampled_from([0.0, 0.3, 7200.4, -7200.7]))
@settings(max_examples=1500)
@pytest.mark.slow
def test_no_walk_breaks_a_promise(steps: list[Step], skew: float) -> None:
    walk(steps, skew, is_bot=True)


@given(
    st.lists(st.tuples(st.sampled_from((*STEPS, "old_acknowledge", "old_resolve")), st.integers(0, 7)), max_size=40),
    st.sampled_from([0.0, 0.3, 7200.4, -7200.7]),
)
@settings(max_examples=1500)
@pytest.mark.slow
def test_nor_one_of_an_alert_that_has_left_an_incident(steps: list[Step], skew: float) -> None:
    walk(steps, skew, has_moved=True)


@given(
    st.lists(st.tuples(st.sampled_from((*STEPS, *["silenced"] * 3)), st.integers(0, 7)), max_size=40),
    st.sampled_from([0.0, 0.3, 7200.4, -7200.7]),
)
@settings(max_examples=1500)
@pytest.mark.slow
def test_nor_one_with_silences(steps: list[Step], skew: float) -> None:
    walk(steps, skew)


def test_a_walk_that_needs_what_is_silenced() -> None:
    steps = [*OPEN, ("wait", 6), ("resolve", 0), ("silenced", 0), ("hear", 0)]
    walk(steps)

    def forgets(alert: Alert, it: Happened, timeout: float) -> object:
        found = happened(alert, it, timeout)
        return Applied(None) if isinstance(found, Applied) else found

    with pytest.raises(BrokenPromise, match="silenced since"):
        walk(steps, decide=forgets)


OPEN: list[Step] = [("event", 0), ("send", 0), ("answer", 0)]
LATER_RESOLVED: list[Step] = [*OPEN, ("wait", 6), ("resolve", 0), ("wait", 3)]


@pytest.mark.parametrize(
    ("steps", "without"),
    [
        # The first incident's resolve is heard when the second is open.
        (
            [*OPEN, ("wait", 6), ("resolve", 0), ("wait", 3), ("event", 7), ("send", 0), ("answer", 0), ("hear", 0)],
            "date",
        ),
        # It occurs again after the resolve, before that is heard.
        ([*LATER_RESOLVED, ("event", 0), ("hear", 0)], "occurred"),
        # Acknowledged is heard after unacknowledged.
        ([*OPEN, ("acknowledge", 0), ("unacknowledge", 0), ("hear", 1), ("hear", 0)], "older"),
        # The same, but the next trigger is accepted in between, within the second.
        (
            [*OPEN, ("acknowledge", 0), ("unacknowledge", 0), ("over", 0), ("event", 0), ("hear", 1), ("send", 0)],
            "older",
        ),
        (
            [*OPEN, ("acknowledge", 0), ("unacknowledge", 0), ("over", 0), ("hear", 1), ("event", 0), ("send", 0)],
            "older",
        ),
    ],
)
def test_a_walk_that_needs_a_rule(steps: list[Step], without: str) -> None:
    walk(steps)

    def careless(alert: Alert, it: Happened, timeout: float) -> object:
        found = happened(alert, it, timeout)
        if isinstance(found, TellAgain if without == "occurred" else Ignored):
            return Applied(None if it.what is What.RESOLVED else replace(alert, status=Status.ACKNOWLEDGED))
        return found

    with pytest.raises(BrokenPromise):
        walk(steps, decide=careless)


@pytest.mark.parametrize(
    ("steps", "has_moved"),
    [
        # A resolve was heard while the next trigger was owed; the acknowledge from before it is heard behind that.
        ([("acknowledge", 0), ("resolve", 0), ("over", 0), ("event", 0), ("hear", 1), ("send", 0)], True),
        # Nobody has it any more, which is heard only when the provider has accepted an update.
        ([*OPEN, ("event", 7), ("acknowledge", 0), ("unacknowledge", 0), ("hear", 0), ("wait", 3), ("send", 0)], False),
        # The answer comes 20 s after the request; an event is suppressed behind it, and after the resolve.
        ([("event", 0), ("send", 0), ("wait", 4), ("wait", 4), ("resolve", 0), ("wait", 0), ("event", 0)], False),
        # What somebody has taken is resolved, which is heard when an update has opened another incident.
        (
            [
                *(*OPEN, ("acknowledge", 0), ("hear", 0), ("wait", 3), ("resolve", 0), ("wait", 3)),
                *(("event", 7), ("send", 0), ("answer", 0), ("hear", 0)),
            ],
            False,
        ),
    ],
)
def test_a_walk_that_broke_a_promise_once(steps: list[Step], has_moved: bool) -> None:
    walk(steps, 0.0, has_moved=has_moved)


def test_a_program_that_resolves_at_once_is_believed_in_the_end() -> None:
    walk(OPEN, is_bot=True)

    def never_believes(alert: Alert, it: Happened, timeout: float) -> object:
        heard = alert.heard
        return happened(replace(alert, heard=heard and replace(heard, repeated=None)), it, timeout)

    with pytest.raises(BrokenPromise, match="6 pages"):
        walk(OPEN, decide=never_believes, is_bot=True)


@pytest.mark.parametrize("what", ["old_resolve", "old_acknowledge"])
def test_a_walk_that_needs_to_know_what_was_left(what: str) -> None:
    steps = [*OPEN, ("wait", 6), (what, 0), ("hear", 0)]
    walk(steps, has_moved=True)

    def knows_one_incident(alert: Alert, it: Happened, timeout: float) -> object:
        told = alert.last_notified
        return happened(replace(alert, last_notified=told and replace(told, left=None)), it, timeout)

    with pytest.raises(BrokenPromise):
        walk(steps, decide=knows_one_incident, has_moved=True)


def test_a_task_keeps_when_the_accepted_request_left() -> None:
    setting = Setting(latency=20.0)
    setting.occur("s")
    setting.run(30)
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert alert.last_notified is not None
    assert alert.last_notified.sent_at == pytest.approx(alert.last_notified.at - 20.0, abs=0.2)


# what tasks and delivery make of it


def dated(setting: Setting) -> Callable[[Call], Accepted]:
    """A provider that says when it has accepted something."""
    return lambda call: Accepted(float(int(EPOCH + setting.now)))


def back(setting: Setting, what: What, at: float, session: str = "s") -> None:
    """What has happened at the provider so many seconds after the beginning is heard."""
    setting.hand(FromProvider("simulated", f"forbidden_path:{session}", Happened(what, EPOCH + at), "Ann"))


def with_a_slow_note(latency: float = 25.0) -> tuple[Setting, float]:
    """An alert's update leaves, and as long after it as is returned its note, which is accepted as much later."""
    setting = Setting(latency=latency, follows_up=True)
    setting.says = dated(setting)
    setting.occur("s")
    setting.run(100.0)
    setting.occur("s", severity="critical")
    return setting, latency


def test_resolved_between_an_update_and_its_note_is_not_forgotten() -> None:
    setting, latency = with_a_slow_note()
    closed = setting.now + latency / 2
    setting.run(100.0)
    back(setting, What.RESOLVED, closed)
    since = setting.now
    setting.run(1.0)
    assert setting.left("trigger", since=since), "it may be open still: the update may have opened it anew"


def test_acknowledged_between_an_update_and_its_note_is_acknowledged() -> None:
    setting, latency = with_a_slow_note()
    taken = setting.now + latency / 2
    setting.run(100.0)
    back(setting, What.ACKNOWLEDGED, taken)
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert alert.status is Status.ACKNOWLEDGED


def test_what_is_resolved_after_a_slow_note_and_behind_its_last_event_is_over() -> None:
    setting, latency = with_a_slow_note()
    setting.run(100.0)
    setting.occur("s", severity="critical")
    setting.run(latency / 2)
    closed = setting.now
    setting.run(3.0)
    back(setting, What.RESOLVED, closed)
    assert setting.partitions[0].alert("s") is None


def test_an_event_between_a_resolve_and_the_note_is_told() -> None:
    setting = Setting(latency=25.0, follows_up=True)
    setting.says = dated(setting)
    setting.occur("s")
    setting.run(100.0)
    setting.occur("s", severity="critical")
    setting.run(35.0)
    closed = setting.now
    setting.run(5.0)
    setting.occur("s", severity="critical")
    setting.run(100.0)
    since = setting.now
    back(setting, What.RESOLVED, closed)
    setting.run(1.0)
    assert setting.left("trigger", since=since)


def test_somebody_silences_a_noisy_problem_and_resolves_its_incident() -> None:
    setting = Setting()
    setting.says = dated(setting)
    for _ in range(5):
        setting.occur("s")
        setting.run(20.0)
    setting.silence("all", 7200.0)
    setting.occur("s")
    setting.run(10.0)
    closed = setting.now
    setting.run(2.0)
    setting.occur("s")
    setting.run(1.0)
    back(setting, What.RESOLVED, closed)
    setting.run(60.0)
    assert len(setting.left("trigger")) == 1


def test_a_program_that_resolves_each_page_pages_nobody_anew_during_a_silence() -> None:
    setting = Setting()
    setting.says = dated(setting)
    setting.occur("s")
    setting.silence("all", 7200.0)
    heard = 0
    for second in range(60):
        setting.run(1.0)
        if second % 3 == 0:
            setting.occur("s")
        pages = setting.left("trigger")
        if len(pages) > heard and setting.now >= pages[-1].at + 5:
            heard = len(pages)
            back(setting, What.RESOLVED, pages[-1].at + 4)
    assert len(setting.left("trigger")) <= 2
    alert = setting.partitions[0].alert("s")
    assert alert is not None, "it goes on, and is told at the end of the silence"
    assert alert.held is not None


def test_an_unacknowledge_that_comes_twice_does_not_undo_a_later_acknowledge_of_ours() -> None:
    setting = Setting()
    setting.says = dated(setting)
    setting.occur("s")
    setting.run(10.0)
    for _ in range(2):
        back(setting, What.ACKNOWLEDGED, 5.0)
        back(setting, What.UNACKNOWLEDGED, 8.0)
        setting.acknowledge("s")
        setting.run(10.0)
        alert = setting.partitions[0].alert("s")
        assert alert is not None
        assert alert.status is Status.ACKNOWLEDGED
