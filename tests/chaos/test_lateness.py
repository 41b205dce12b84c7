"""A page of a working route is late after five seconds more than the rate allows; what was in the way is left out."""

from dataclasses import replace

import pytest

from providers.sandbox import Call, CallMoment, Sandbox
from tests.chaos.happened import Growth, Happened, Hidden, Refusal, Window
from tests.chaos.keying import dedup_key
from tests.chaos.lateness import Page, lateness, pages
from tests.chaos.reader import Event, Reader
from tests.support.service import World

NOW = 1_000.0
KEY, OTHER = "a" * 32, "b" * 32
PAGE = Page("pagerduty", "g:p-1", KEY, 0, NOW, NOW + 9)


def late(*found: Page, windows: tuple[Window, ...] = (), per_second: float | None = None) -> list[str]:
    return [finding.dedup_key for finding in lateness(found, windows, per_second).findings]


def test_a_page_is_late_after_five_seconds() -> None:
    assert late(PAGE) == ["g:p-1"]
    assert late(replace(PAGE, told=NOW + 4.9)) == []
    assert lateness([PAGE], []).longest == 9
    assert lateness([PAGE], []).judged == 1


@pytest.mark.parametrize(
    ("window", "is_late"),
    [
        (Window(NOW + 1, NOW + 6), False),
        (Window(NOW + 1, NOW + 4), True),
        (Window(NOW - 9, NOW + 4), False),
        (Window(NOW + 4, NOW + 99), False),
        (Window(NOW + 10, NOW + 99), True),
        (Window(NOW, NOW + 9, "pagerduty"), False),
        (Window(NOW, NOW + 9, "opsgenie"), True),
        (Window(NOW, NOW + 9, "pagerduty", KEY), False),
        (Window(NOW, NOW + 9, "pagerduty", OTHER), True),
        (Window(NOW, NOW + 9, partition=0), False),
        (Window(NOW, NOW + 9, partition=1), True),
    ],
)
def test_what_was_in_its_way_does_not_count_and_what_was_in_the_way_of_others_does(
    window: Window, is_late: bool
) -> None:
    assert bool(late(PAGE, windows=(window,))) is is_late


def test_windows_that_overlap_count_once() -> None:
    windows = (Window(NOW + 1, NOW + 4), Window(NOW + 2, NOW + 3), Window(NOW + 3, NOW + 4.5))
    assert lateness([PAGE], windows).longest == 5.5


def test_a_page_that_came_while_something_was_in_the_way_is_not_counted_as_judged() -> None:
    assert lateness([PAGE], [Window(NOW - 1, NOW + 1)]).judged == 0
    assert lateness([PAGE], [Window(NOW - 1, NOW + 1, "opsgenie")]).judged == 1


def test_a_page_that_met_a_fault_itself_is_not_judged() -> None:
    assert lateness([replace(PAGE, is_struck=True)], []).judged == 0
    assert late(replace(PAGE, is_struck=True)) == []


def test_the_rate_allows_what_the_pages_before_it_take() -> None:
    before = [replace(PAGE, dedup_key=f"g:p-{n}", known=NOW - 1, told=NOW + n / 10) for n in range(2, 12)]
    assert late(*before, PAGE) == ["g:p-1"]
    assert late(*before, PAGE, per_second=5) == ["g:p-1"]  # ten pages at three a second
    assert late(*before, PAGE, per_second=4) == []
    elsewhere = [replace(page, key=OTHER) for page in before]
    assert late(*elsewhere, PAGE, per_second=4) == ["g:p-1"]
    after = [replace(page, known=NOW + 1) for page in before]
    assert late(*after, PAGE, per_second=4) == ["g:p-1"]


class Told:
    """What was produced, and a sandbox that was told of it."""

    def __init__(self) -> None:
        self.reader = Reader(World("", 1, {}), ["pagerduty"])
        self.sandbox = Sandbox()

    def produced(self, event_id: str, at: float, session: str = "p-1", partition: int = 0) -> Event:
        event = Event(event_id, "g", session, partition, len(self.reader.events), at)
        self.reader.events.append(event)
        return event

    def asked(self, event: Event, at: float, action: str = "trigger", fault: str | None = None) -> None:
        call = Call(method="POST", path="", provider="pagerduty", action=action, key=KEY, event_id=event.event_id)
        call.dedup_key = dedup_key("pagerduty", event)
        payload = {"summary": "s", "source": "s", "severity": "info", "custom_details": {"event_id": event.event_id}}
        call.body = {"routing_key": KEY, "event_action": action, "dedup_key": call.dedup_key, "payload": payload}
        entry = self.sandbox.journal.record(call, CallMoment(at, at))
        if fault is None:
            self.sandbox.pagerduty.answer(call, CallMoment(at, at))
        else:
            entry.fault = fault

    def pages(self, happened: Happened | None = None, acked: dict[str, float] | None = None) -> list[Page]:
        return list(pages(self.reader, self.sandbox, acked or {}, "p-", happened or Happened()))


def test_a_problem_waits_from_its_first_event_on_whatever_opened_the_incident() -> None:
    told = Told()
    told.produced("e0", NOW)
    told.asked(told.produced("e1", NOW + 2), NOW + 3)
    assert told.pages() == [Page("pagerduty", "g:p-1", KEY, 0, NOW, NOW + 3)]
    assert told.pages(acked={"e0": NOW + 1})[0].known == NOW + 1


def test_a_problem_that_comes_back_waits_from_what_opened_it_again() -> None:
    told = Told()
    first = told.produced("e0", NOW)
    told.asked(first, NOW + 1)
    told.asked(first, NOW + 2, "resolve")
    told.asked(told.produced("e1", NOW + 50), NOW + 57)
    assert [(page.known, page.told) for page in told.pages()] == [(NOW, NOW + 1), (NOW + 50, NOW + 57)]


def test_what_was_hidden_by_a_transaction_waits_from_its_end_on() -> None:
    told = Told()
    told.asked(told.produced("e0", NOW, partition=2), NOW + 100)
    happened = Happened(
        hidden=[Hidden(1, NOW - 1, NOW + 90), Hidden(2, NOW - 1, NOW + 98), Hidden(2, NOW + 1, NOW + 200)]
    )
    assert [page.known for page in told.pages(happened)] == [NOW + 98]
    assert [page.known for page in told.pages()] == [NOW]


def test_after_a_growth_a_home_waits_for_a_hidden_one_of_before_but_not_for_ever() -> None:
    told = Told()
    told.asked(told.produced("e0", NOW), NOW + 70)
    growths = [Growth(NOW - 9, NOW + 60)]
    for over, known in ((NOW + 30, NOW + 30), (NOW + 90, NOW + 60)):
        happened = Happened(hidden=[Hidden(3, NOW - 20, over)], growths=growths)
        assert [page.known for page in told.pages(happened)] == [known]
    assert [page.known for page in told.pages(Happened(hidden=[Hidden(3, NOW - 20, NOW + 90)]))] == [NOW]
    soon = Happened(hidden=[Hidden(3, NOW + 1, NOW + 90)], growths=growths)
    assert [page.known for page in told.pages(soon)] == [NOW + 60], "it has not handed over yet when it is hidden"
    assert [page.known for page in told.pages(Happened(growths=growths))] == [NOW]
    past = Happened(hidden=[Hidden(3, NOW - 200, NOW + 90)], growths=[Growth(NOW - 200, NOW - 1)])
    assert [page.known for page in told.pages(past)] == [NOW]


def test_what_is_refused_for_ever_is_no_page_and_what_met_a_fault_is_marked() -> None:
    told = Told()
    event = told.produced("e0", NOW)
    told.asked(event, NOW + 1, fault="answer")
    told.asked(event, NOW + 9)
    assert [page.is_struck for page in told.pages()] == [True]
    assert told.pages(Happened([Refusal({"p-1"}, 503)])) == []
    assert len(told.pages(Happened([Refusal({"p-10"}, 503)]))) == 1
