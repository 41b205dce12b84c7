"""When a restart may mend what is wrong with a member: never in an outage, a rebalance or a restore."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from consumer.group.standstill import ASK_SECONDS, Standstill
from consumer.telemetry.health import STANDSTILL_SECONDS


@dataclass(frozen=True)
class Look:
    """What is there to be seen ``after`` so many seconds: does the member wait for a proof, does Kafka answer."""

    after: float
    waits: bool
    answers: bool


def standing(looks: list[Look]) -> tuple[float, list[bool]]:
    """How long it stands still after these looks, and whether Kafka was asked at each."""
    standstill, now, asked = Standstill(), 0.0, []
    for look in looks:
        now += look.after
        standstill.observe(waits=look.waits)
        asked.append(standstill.is_time_to_ask(now))
        if asked[-1]:
            standstill.asked(now, answered=look.answers)
    return standstill.seconds(now), asked


def test_it_is_counted_from_the_first_answer_on() -> None:
    seconds, asked = standing([Look(5.0, True, True)] * 61)
    assert seconds == 60 * 5.0 == STANDSTILL_SECONDS
    assert sum(asked) == 21  # Kafka is asked now and then only


def test_an_outage_of_kafka_is_none_however_long() -> None:
    assert standing([Look(5.0, True, False)] * 1000)[0] == 0


def test_it_begins_anew_when_kafka_does_not_answer_once() -> None:
    look, silence = Look(15.0, True, True), Look(15.0, True, False)
    assert standing([look] * 10 + [silence, look, look])[0] == 15.0


def test_a_proof_a_rebalance_a_restore_or_having_no_partitions_ends_it() -> None:
    waits, does_not = Look(15.0, True, True), Look(5.0, False, True)
    assert standing([waits] * 30 + [does_not])[0] == 0
    assert standing([waits] * 30 + [does_not, waits])[0] == 0
    assert standing([does_not] * 1000) == (0, [False] * 1000)  # a standby is no reason, and asks nobody


def test_an_answer_that_comes_when_nobody_waits_any_more_counts_for_nothing() -> None:
    standstill = Standstill()
    standstill.observe(waits=True)
    standstill.observe(waits=False)
    standstill.asked(10.0, answered=True)
    assert standstill.seconds(1000.0) == 0


@given(st.lists(st.builds(Look, st.floats(0.1, 60.0), st.booleans(), st.booleans()), max_size=60))
def test_it_lasts_exactly_since_everything_spoke_for_it(looks: list[Look]) -> None:
    seconds, asked = standing(looks)
    now = sum(look.after for look in looks)
    times, elapsed = [], 0.0
    for look in looks:
        elapsed += look.after
        times.append(elapsed)
    begins = None
    for time, look, was_asked in zip(times, looks, asked, strict=True):
        if not look.waits or (was_asked and not look.answers):
            begins = None
        elif was_asked and begins is None:
            begins = time
    assert abs(seconds - (0.0 if begins is None else now - begins)) < 1e-6
    between = [later - earlier for earlier, later in zip(_asked(times, asked), _asked(times, asked)[1:], strict=False)]
    waited_all_along = all(look.waits for look in looks)
    assert not waited_all_along or all(gap >= ASK_SECONDS - 1e-6 for gap in between)


def _asked(times: list[float], asked: list[bool]) -> list[float]:
    return [time for time, was_asked in zip(times, asked, strict=True) if was_asked]
