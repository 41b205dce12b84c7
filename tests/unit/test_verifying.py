"""Accepted is not done: delivery takes an answer when it is known what has become of the request (design section 9)."""

from collections.abc import Sequence

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.delivery import RouteLimits
from providers.delivery.places import QUESTIONS
from providers.delivery.verifying import MORE_TO_SAY, NO_PLACE
from providers.notification import Notification
from providers.provider import Request, Verify
from providers.rate import Rate
from state.violation import Severity
from tests.unit.test_delivery import Outbox, Provider, Setting

ACCEPTED = Accepted(receipt="r")
NOT_YET = Unavailable(404, "not processed yet")
FAILED = Rejected(202, "accepted, then failed: no")


class AcceptsFirst(Provider):
    """A provider of whose requests it can be asked what has become of them: at ``<alert>?<receipt>``."""

    def __init__(self, *, always: bool, follow_ups: int = 0) -> None:
        super().__init__(("default",), 1, {})
        self._always = always
        self._follow_ups = follow_ups

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        url = f"{route}/{notification.dedup_key}"
        verify = Verify(lambda receipt: Request("GET", f"{url}?{receipt}", read=self.classify), self._always)
        follow_ups = [Request("POST", f"{url}/{number}", verify=verify) for number in range(self._follow_ups)]
        return [Request("POST", url, verify=verify), *follow_ups]


def setting(
    *, always: bool = False, follow_ups: int = 0, limits: RouteLimits | None = None, max_in_flight: int = 100
) -> Setting:
    provider = AcceptsFirst(always=always, follow_ups=follow_ups)
    return Setting(provider=provider, limits=limits, max_in_flight=max_in_flight)


def told(one: Setting) -> list[tuple[str, Answer]]:
    return [*one.outbox.answers]


def test_the_answer_is_taken_when_it_is_known_what_has_become_of_the_request() -> None:
    one = setting()
    one.outbox.owe("a")
    assert one.taken() == ["a"]
    one.answer("a", Accepted(5.0, receipt="r"))
    assert one.taken() == ["a?r"]
    assert told(one) == []
    assert one.delivery.is_busy(one.outbox, "a"), "one request at a time about one alert"
    one.answer("a?r", Accepted(99.0))
    assert told(one) == [("a", Accepted(5.0))], "at the time of the provider's acceptance"


def test_once_something_has_come_about_the_rest_is_believed() -> None:
    one = setting()
    one.outbox.owe("a").owe("b")
    for name in ("a", "b"):
        one.answer(name, ACCEPTED)
    assert one.taken() == ["a", "b", "a?r", "b?r"], "until then, each is asked"
    one.answer("a?r")
    assert told(one) == [("a", Accepted()), ("b", Accepted())], "also what is being asked about, at once"
    assert one.waiting == {}
    one.outbox.owe("c")
    one.answer("c", ACCEPTED)
    assert one.taken() == ["c"]
    assert told(one) == [("a", Accepted()), ("b", Accepted()), ("c", Accepted())]


def test_every_request_is_asked_about_where_that_is_wanted() -> None:
    one = setting(always=True)
    for name in ("a", "b"):
        one.outbox.owe(name)
        one.answer(name, ACCEPTED)
        one.answer(f"{name}?r")
    assert one.taken() == ["a", "a?r", "b", "b?r"]


def test_a_follow_up_is_not_asked_about() -> None:
    one = setting(always=True, follow_ups=1)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.answer("a?r")
    one.answer("a/0", ACCEPTED)
    assert one.taken() == ["a", "a?r", "a/0"]
    assert told(one) == [("a", Accepted())]


def test_nothing_follows_up_what_has_failed() -> None:
    one = setting(always=True, follow_ups=1)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.answer("a?r", Rejected(202, "no such alert", is_plain=True))
    assert one.taken() == ["a", "a?r"]
    assert told(one) == [("a", Rejected(202, "no such alert", is_plain=True))]


def test_what_is_not_processed_yet_is_asked_again_less_and_less_often() -> None:
    one = setting()
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    asked, begin = list[float](), one.loop.time()
    while told(one) == []:
        if "a?r" in one.waiting:
            asked.append(one.loop.time() - begin)
            one.answer("a?r", NOT_YET)
        else:
            one.loop.advance(0.5)
    assert asked == [0.0, 0.5, 1.5, *(3.5 + 2 * number for number in range(14))]
    assert asked[-1] < 30.0, "within the time of the request"
    assert told(one) == [("a", Accepted(unverified="not processed yet"))]
    one.outbox.owe("b")
    one.taken()
    one.answer("b", ACCEPTED)
    assert one.taken() == [], "nobody can say it, so the next ones are believed"


def test_the_time_of_the_request_itself_counts() -> None:
    one = setting()
    one.outbox.owe("a")
    one.loop.advance(29.0)
    one.answer("a", ACCEPTED)
    one.answer("a?r", NOT_YET)
    one.loop.advance(0.5)
    one.answer("a?r", NOT_YET)
    assert told(one) == [("a", Accepted(unverified="not processed yet"))]
    one = setting()
    one.outbox.owe("a")
    one.loop.advance(30.0)
    one.answer("a", ACCEPTED)
    assert one.taken() == ["a"]
    assert told(one) == [("a", Accepted(unverified="there was no time to ask"))]
    one.outbox.owe("b")
    one.answer("b", ACCEPTED)
    assert "b?r" in one.waiting, "what was never asked about says nothing of the next one"


def test_an_acceptance_that_names_no_request_is_unverified() -> None:
    one = setting()
    one.outbox.owe("a")
    one.answer("a", Accepted())
    [(_, answer)] = told(one)
    assert isinstance(answer, Accepted)
    assert answer.unverified is not None


def test_a_failure_is_the_alerts_own_where_the_key_works() -> None:
    one = setting(limits=RouteLimits(check_interval=3600.0)).start()
    one.answer("check")
    one.loop.advance(1.0)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.taken()
    one.answer("a?r", FAILED)
    one.loop.advance(10.0)
    assert one.taken() == ["check"], "whose fault it is, the key is asked"
    one.answer("check")
    assert told(one) == [("a", FAILED)]
    one.outbox.owe("b")
    one.answer("b", ACCEPTED)
    assert "b?r" in one.waiting, "as long as nothing has come about, each is asked about"


def test_a_failure_that_blames_the_key_leaves_the_alert_owed_and_refuses_the_route() -> None:
    one = setting()
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.answer("a?r", RouteRefused(202, "accepted, then failed: Integration is disabled"))
    assert one.delivery.refused_routes == ["default"]
    assert "a" in one.outbox.owed
    assert [type(answer) for _, answer in told(one)] == [RouteRefused]
    while one.taken() == []:
        one.loop.advance(1.0)
    assert "a" in one.waiting, "it is tried again"
    one.answer("a", ACCEPTED)
    one.answer("a?r")
    assert one.delivery.refused_routes == []
    assert one.outbox.owed == {}


def test_a_question_that_is_throttled_lets_nothing_leave_for_a_while_and_takes_no_acceptance_back() -> None:
    one = setting(limits=RouteLimits(rate=Rate(10, 20)))
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.taken()
    one.answer("a?r", Throttled("too many requests", 60.0))
    assert told(one) == [("a", Accepted(unverified="too many requests"))]
    one.outbox.owe("b")
    one.loop.advance(50.0)
    assert one.taken() == []
    one.loop.advance(20.0)
    assert one.taken() == ["b"]


def test_a_task_that_has_to_be_silent_asks_nothing_and_its_acceptance_is_kept() -> None:
    one = setting()
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.answer("a?r", NOT_YET)
    one.taken()
    with one.loop.running():
        withdrawn = one.loop.create_task(one.delivery.withdraw(one.outbox, 10.0))
    one.loop.advance(2.5)
    assert withdrawn.done()
    assert one.taken() == []
    assert told(one) == [("a", Accepted(unverified="not processed yet"))]


def test_pages_go_before_questions_but_for_one_at_a_time() -> None:
    """Of a burst of four, and one a second then."""
    one = setting(always=True, limits=RouteLimits(rate=Rate(1, 4)))
    for number in range(8):
        one.outbox.owe(f"{number}", Severity.HIGH, since=float(number))
    left: list[str] = []
    for _ in range(30):
        left += one.taken()
        for name in list(one.waiting):
            one.answer(name, NOT_YET if "?" in name else ACCEPTED)
        one.loop.advance(1.0)
    pages = [name for name in left if "?" not in name]
    assert pages == [str(number) for number in range(8)]
    assert left.index("7") <= 12, "half of the rate at most is questions while pages wait"


def test_what_is_cut_off_in_between_is_owed_and_repeated() -> None:
    one = setting()
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    with one.loop.running():
        closed = one.loop.create_task(one.delivery.close())
    one.loop.advance(0.1)
    assert closed.done()
    assert told(one) == []
    assert "a" in one.outbox.owed


# a question never holds a page back


def test_a_question_that_hangs_holds_no_place() -> None:
    one = setting(always=True, max_in_flight=2)
    for number in range(20):
        one.outbox.owe(f"{number}")
        one.answer(f"{number}", ACCEPTED)
    assert told(one) == []
    assert len(one.waiting) == 20, "all are asked about"
    one.outbox.owe("critical")
    assert "critical" in one.waiting


def test_more_than_can_be_asked_about_at_once_is_accepted_and_not_known() -> None:
    one = setting(always=True, max_in_flight=2)
    for number in range(QUESTIONS + 1):
        one.outbox.owe(f"{number}")
        one.answer(f"{number}", ACCEPTED)
    assert told(one) == [(f"{QUESTIONS}", Accepted(unverified=NO_PLACE))]
    one.answer("0?r")
    one.outbox.owe("next")
    one.answer("next", ACCEPTED)
    assert "next?r" in one.waiting, "there is a place again"


def test_what_waits_for_a_token_to_ask_goes_on_when_another_has_shown_it() -> None:
    one = setting(limits=RouteLimits(rate=Rate(0.01, 3)))
    for name in ("a", "b"):
        one.outbox.owe(name)
        one.answer(name, ACCEPTED)
    assert [*one.waiting] == ["a?r"], "there is no token for the other question"
    one.answer("a?r")
    assert told(one) == [("a", Accepted()), ("b", Accepted())]


def test_an_alert_that_has_more_to_say_does_not_wait_for_a_question_about_it() -> None:
    one = setting(always=True)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    assert "a?r" in one.waiting
    one.outbox.owe("a", Severity.CRITICAL, since=1.0, is_new=True)
    assert told(one) == [("a", Accepted(unverified=MORE_TO_SAY))]
    assert [*one.waiting] == ["a"]
    one.outbox.changed("a")
    assert [*one.waiting] == ["a"], "its request itself is waited for"
    one.answer("a", ACCEPTED)
    assert [*one.waiting] == ["a?r"]


def test_an_alert_that_says_the_same_as_before_does() -> None:
    one = setting(always=True)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.outbox.changed("a")  # a checkpoint holds it now, for example
    assert told(one) == []
    one.answer("a?r", FAILED)
    assert told(one) == [("a", FAILED)]


def test_what_follows_waits_for_a_place_again() -> None:
    one = setting(always=True, follow_ups=1, max_in_flight=1)
    one.outbox.owe("a")
    one.answer("a", ACCEPTED)
    one.outbox.owe("b")
    assert [*one.waiting] == ["a?r", "b"]
    one.answer("a?r")
    assert [*one.waiting] == ["b"]
    one.answer("b", ACCEPTED)
    assert [*one.waiting] == ["b?r", "a/0"]
    one.outbox.owe("c")
    assert "c" not in one.waiting
    one.answer("a/0", ACCEPTED)
    assert told(one) == [("a", Accepted())]
    assert [*one.waiting] == ["b?r", "c"]


def test_what_is_cut_off_while_it_waits_for_a_place_takes_none() -> None:
    one = setting(always=True, follow_ups=1, max_in_flight=1)
    for name in ("a", "b"):
        one.outbox.owe(name)
        one.answer(name, ACCEPTED)
    one.outbox.owe("c")
    one.answer("a?r")
    one.answer("b?r")
    assert [*one.waiting] == ["c"]
    other = Outbox(one)
    with one.loop.running():
        withdrawn = one.loop.create_task(one.delivery.withdraw(one.outbox, 0.0))
    one.loop.settle()
    assert withdrawn.done()
    other.owe("d")
    assert [*one.waiting] == ["d"]
    one.answer("d", Unavailable(503, "no"))
    one.loop.advance(10.0)
    assert [*one.waiting] == ["d"], "a place is free, once"
