"""Follow-ups at an API beside the integration's: the alert is accepted whatever becomes of them (design section 9)."""

import weakref
from collections.abc import Sequence

import pytest

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.delivery.follow_ups import AT_ONCE, GIVE_UP_SECONDS, MOST
from providers.delivery.outbox import Dispatch
from providers.notification import Notification
from providers.provider import Request
from tests.unit.test_delivery import Outbox, Provider, Setting

DOWN = Unavailable(503, "HTTP 503")


class HasAnotherApi(Provider):
    """After each statement the alert is looked up beside, as ``<alert>/find``, and then gets a priority and a tag; a
    note goes through the integration."""

    def __init__(self) -> None:
        super().__init__(("default",), 1, {})

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        url = f"{route}/{notification.dedup_key}"

        def act(id: str) -> Sequence[Request]:
            return [Request("POST", f"{url}/{id}/{what}", is_beside=True) for what in ("priority", "tags")]

        find = Request("GET", f"{url}/find", followed_by=act, is_beside=True)
        return [Request("POST", url), find, Request("POST", f"{url}/note")]


def setting(*, max_in_flight: int = 100) -> Setting:
    return Setting(provider=HasAnotherApi(), max_in_flight=max_in_flight)


def accepted(one: Setting, *names: str) -> Setting:
    """These alerts are accepted, and their notes too."""
    for name in names:
        one.outbox.owe(name)
        one.answer(name)
        one.answer(f"{name}/note")
    return one


def told(one: Setting) -> list[tuple[str, Answer]]:
    return [*one.outbox.answers]


def test_a_notification_does_not_wait_for_it() -> None:
    one = setting(max_in_flight=1)
    one.outbox.owe("a")
    one.answer("a")
    assert {*one.waiting} == {"a/note"}, "nothing beside while its alert is on the wire"
    one.answer("a/note")
    assert told(one) == [("a", Accepted())]
    assert {*one.waiting} == {"a/find"}
    one.outbox.owe("b")
    assert {*one.waiting} == {"a/find", "b"}, "it holds no place"
    one.answer("a/find", Accepted(receipt="7"))
    one.answer("a/7/priority")
    one.answer("a/7/tags")
    assert one.follow_ups == []


def test_what_fails_there_is_tried_again_and_only_that() -> None:
    one = accepted(setting(), "a")
    one.loop.advance(1.0)
    one.answer("a/find", Accepted(receipt="7"))
    one.answer("a/7/priority", DOWN)
    assert one.waiting == {}
    one.loop.advance(2.0)
    assert [*one.waiting] == ["a/7/priority"]
    one.answer("a/7/priority", Unavailable(429, "slower", 20.0))
    one.loop.advance(19.0)
    assert one.waiting == {}, "as long as it has asked for"
    one.loop.advance(2.0)
    one.answer("a/7/priority", Rejected(400, "no"))
    one.answer("a/7/tags")
    assert one.follow_ups == [("a", Rejected(400, "no"))]
    assert told(one) == [("a", Accepted())], "the alert is accepted, once"
    assert "a" not in one.taken()[1:]


def test_while_it_is_down_one_shows_when_it_works_again() -> None:
    names = [f"{number}" for number in range(20)]
    one = accepted(setting(), *names)
    one.loop.advance(1.0)
    assert len(one.waiting) == AT_ONCE
    for name in [*one.waiting]:
        one.answer(name, DOWN)
    for _ in range(5):
        while not one.waiting:
            one.loop.advance(1.0)
        (name,) = one.waiting
        one.answer(name, DOWN)
    while not one.waiting:
        one.loop.advance(1.0)
    (name,) = one.waiting
    one.answer(name)
    assert len(one.waiting) == AT_ONCE, "the others at once"
    while one.waiting:
        one.answer(next(iter(one.waiting)))
    assert len(told(one)) == 20


def test_it_is_given_up_in_the_end_and_said() -> None:
    one = accepted(setting(), "a")
    begin = one.loop.time()
    while one.follow_ups == []:
        one.loop.advance(1.0)
        if one.waiting:
            one.answer("a/find", DOWN)
    assert one.follow_ups == [("a", Rejected(503, "given up: HTTP 503"))]
    assert GIVE_UP_SECONDS <= one.loop.time() - begin <= GIVE_UP_SECONDS + 100.0


def test_what_is_over_or_told_anew_needs_none_of_before() -> None:
    one = accepted(setting(), "a")
    one.loop.advance(1.0)
    one.answer("a/find", DOWN)
    accepted(one, "a")
    one.loop.advance(10.0)
    one.answer("a/find", Accepted())
    one.loop.advance(100.0)
    assert one.waiting == {}
    assert one.taken().count("a/find") == 2, "one that failed, and one of the newer ones"


def test_none_leaves_any_more_once_its_alert_is_told_anew_or_over() -> None:
    one = accepted(setting(), "a")
    one.loop.advance(1.0)
    one.outbox.owe("a")
    assert {*one.waiting} == {"a", "a/find"}, "what is on the wire is"
    one.answer("a/find", Accepted(receipt="7"))
    assert {*one.waiting} == {"a"}


def test_none_leaves_while_the_task_has_to_be_silent_and_the_rest_after_that() -> None:
    one = accepted(setting(), "a")
    one.loop.advance(1.0)
    one.may_send = False
    one.answer("a/find", Accepted(receipt="7"))
    one.loop.advance(100.0)
    assert one.waiting == {}
    one.may_send = True
    one.loop.advance(2.0)
    one.answer("a/7/priority")
    one.answer("a/7/tags")
    assert one.taken().count("a/find") == 1


def test_a_fault_about_those_of_one_alert_is_told_and_stops_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    one = setting()
    rejected = one.delivery._follow_ups._rejected

    def raises(dispatch: Dispatch, answer: Rejected) -> None:
        if dispatch.dedup_key == "a":
            raise RuntimeError("a bug")
        rejected(dispatch, answer)

    monkeypatch.setattr(one.delivery._follow_ups, "_rejected", raises)
    accepted(one, "a", "b")
    one.loop.advance(1.0)
    for name in ("a/find", "b/find"):
        one.answer(name, DOWN)
    while not one.waiting:
        one.loop.advance(1.0)
    assert {*one.waiting} == {"a/find"}, "one at a time, while it is down"
    one.answer("a/find", Rejected(404, "not there"))
    assert [str(error["exception"]) for error in one.loop.errors] == ["a bug"]
    one.loop.errors.clear()
    one.loop.advance(60.0)
    assert {*one.waiting} == {"b/find"}


def test_an_answer_that_nobody_can_wait_for_is_made_once_and_stops_no_others() -> None:
    one = accepted(setting(), "a", "b")
    one.loop.advance(1.0)
    one.answer("a/find", Unavailable(503, "HTTP 503", "soon"))  # type: ignore[arg-type]
    one.answer("b/find")
    assert [type(error["exception"]) for error in one.loop.errors] == [TypeError]
    one.loop.errors.clear()
    one.loop.advance(600.0)
    assert one.waiting == {}
    assert one.taken().count("a/find") == 1


def test_too_many_make_room_and_say_so() -> None:
    one = accepted(setting(), "first")
    one.loop.advance(1.0)
    one.answer("first/find", Unavailable(503, "HTTP 503", 1000.0))
    accepted(one, *(f"{number}" for number in range(MOST)))
    assert one.follow_ups == [("first", Rejected(0, "given up: too many follow-ups wait"))]


def test_a_task_that_is_gone_makes_none_and_is_let_go() -> None:
    one = accepted(setting(), "a", "b")
    gone = weakref.ref(one.outbox)
    with one.loop.running():
        withdrawn = one.loop.create_task(one.delivery.withdraw(one.outbox, 0.0))
    one.loop.settle()
    assert withdrawn.done()
    assert {name for name, _ in one.follow_ups} == {"a", "b"}
    one.loop.advance(10.0)
    one.outbox = Outbox(one)
    assert one.waiting == {}
    del withdrawn
    assert gone() is None


def test_a_delivery_that_is_closed_makes_none() -> None:
    one = accepted(setting(), "a")
    one.loop.advance(1.0)
    with one.loop.running():
        closed = one.loop.create_task(one.delivery.close())
    one.loop.settle()
    assert closed.done()
    assert one.waiting == {}
