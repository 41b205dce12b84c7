"""The promises of design section 5, over walks through everything that can happen to alerts (tests/support/simulation).

The seeded walks are always the same; Hypothesis looks for others and makes them short. A walk that once broke a promise
stays here under the name of what it showed.
"""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.simulation import BrokenPromise, Simulation, simulate
from tests.support.walks import (
    COMMIT,
    CRITICAL,
    HIGH,
    NUMBERS,
    PEOPLE_WEIGHTS,
    ROUTED_WEIGHTS,
    SILENCED_PEOPLE_WEIGHTS,
    SILENCED_ROUTED_WEIGHTS,
    SILENCED_WEIGHTS,
    SKEWED_WEIGHTS,
    WEIGHTS,
    Step,
    decide,
    end,
    event,
    random_walk,
    shortest,
    wait,
)

pytestmark = pytest.mark.slow

SEEDS = 700
CHUNK = 100

WALKS = st.lists(st.tuples(st.sampled_from(sorted(WEIGHTS)), st.integers(0, NUMBERS - 1)), max_size=50)
ROUTED_WALKS = st.lists(st.tuples(st.sampled_from(sorted(ROUTED_WEIGHTS)), st.integers(0, NUMBERS - 1)), max_size=50)
PEOPLES_WALKS = st.lists(st.tuples(st.sampled_from(sorted(PEOPLE_WEIGHTS)), st.integers(0, NUMBERS - 1)), max_size=50)
SEARCH = settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def check(walk: Sequence[Step], **setting: bool) -> None:
    """Take the walk; if it breaks a promise, show the shortest that breaks one."""
    try:
        simulate(walk, **setting)
    except BrokenPromise:
        short = shortest(walk, lambda shorter: _breaks(shorter, setting))
        print(f"simulate({short}, {', '.join(f'{name}={value}' for name, value in setting.items())})")
        simulate(short, **setting)
        raise


def _breaks(walk: Sequence[Step], setting: Mapping[str, bool]) -> bool:
    try:
        simulate(walk, **setting)
    except BrokenPromise:
        return True
    return False


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_is_kept(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("in time", seed)), late=False)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_lands_late_nothing_is_lost_and_both_sides_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("late", seed)), late=True)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_route_that_may_owe_one_trigger_only_loses_none(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("tight", seed)), late=bool(seed % 2), tight=True)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_what_is_silenced_tells_nobody_and_what_is_live_afterwards_is_told(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("silenced", seed), weights=SILENCED_WEIGHTS), late=bool(seed % 2))


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_silence_ends_early_or_never_where_the_clock_of_the_member_is_wrong(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("skewed", seed), weights=SKEWED_WEIGHTS), late=bool(seed % 2))


def test_silences_hold_where_keys_are_rotated_and_where_people_resolve_at_the_provider() -> None:
    for seed in range(CHUNK):
        check(
            random_walk(("silenced, routed", seed), weights=SILENCED_ROUTED_WEIGHTS), late=bool(seed % 2), routed=True
        )
        check(
            random_walk(("silenced, shared", seed), weights=SILENCED_ROUTED_WEIGHTS), late=bool(seed % 2), shared=True
        )
        check(random_walk(("silenced, people", seed), weights=SILENCED_PEOPLE_WEIGHTS), people=True)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_keys_are_rotated_and_routes_renamed_and_removed_without_a_second_incident(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("routed", seed), weights=ROUTED_WEIGHTS), late=bool(seed % 2), routed=True)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_keys_of_an_account_that_shares_its_alerts_are_rotated_and_nothing_live_is_resolved(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("shared", seed), weights=ROUTED_WEIGHTS), late=bool(seed % 2), shared=True)


@pytest.mark.parametrize("first", range(0, 300, CHUNK))
def test_people_act_at_the_provider_and_both_sides_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(random_walk(("people", seed), weights=PEOPLE_WEIGHTS), late=bool(seed % 2), people=True)


@given(PEOPLES_WALKS)
@SEARCH
def test_no_walk_is_found_that_breaks_a_promise_by_what_people_do_at_the_provider(walk: list[Step]) -> None:
    simulate(walk, people=True)


@given(ROUTED_WALKS)
@SEARCH
def test_no_walk_is_found_that_breaks_a_promise_by_a_change_of_keys(walk: list[Step]) -> None:
    simulate(walk, routed=True)


@given(ROUTED_WALKS)
@SEARCH
def test_no_walk_is_found_that_breaks_a_promise_by_a_change_of_keys_that_share_their_alerts(walk: list[Step]) -> None:
    simulate(walk, shared=True)


@given(WALKS)
@SEARCH
def test_no_walk_is_found_that_breaks_a_promise(walk: list[Step]) -> None:
    simulate(walk)


@given(WALKS)
@SEARCH
def test_no_walk_is_found_that_breaks_a_promise_by_what_lands_late(walk: list[Step]) -> None:
    simulate(walk, late=True)


# walks that have broken a promise


def test_what_was_counted_before_a_higher_severity_is_not_lost_when_the_first_trigger_is_rejected() -> None:
    simulate([event("s1", HIGH), event("s1", HIGH), event("s1", CRITICAL), decide(4), ("reject", 2)])


def test_a_dead_letter_counts_the_occurrences_between_its_first_and_its_last() -> None:
    simulate(
        [
            event("s1", HIGH),
            decide(1),
            event("s1", HIGH),
            event("s1", CRITICAL),
            decide(4),
            ("reject", 0),
            ("reject", 0),
        ]
    )


def test_a_trigger_that_was_taken_answered_503_and_given_up_leaves_no_incident_open() -> None:
    simulate([event("s1", HIGH), end("s1"), decide(4), ("land", 7), ("outage", 7), ("tick", 3), ("throttle", 4)])


def test_no_resolve_overtakes_a_trigger_of_a_dead_owner_that_no_checkpoint_held() -> None:
    simulate([wait(12.0), event("s2", HIGH), decide(4), ("commit_fails", 0), end("s2")], late=True)


RESOLVE_BROKE_OFF: list[Step] = [
    event("s1", HIGH), decide(1), ("answer", 0), end("s1"), decide(1), ("calm", 0), ("break", 0)
]  # fmt: skip


def test_an_alert_that_begins_after_a_rejected_one_is_not_closed_by_a_late_resolve_of_that() -> None:
    again: list[Step] = [event("s1", HIGH), decide(1)]
    simulate([*RESOLVE_BROKE_OFF, *again, ("reject", 0), *again, ("answer", 0)], late=True)


def test_a_rejected_trigger_does_not_take_with_it_the_repeat_that_an_unknown_resolve_demands() -> None:
    higher: list[Step] = [event("s1", CRITICAL), decide(1)]
    simulate([*RESOLVE_BROKE_OFF, event("s1", HIGH), decide(1), ("answer", 0), *higher, ("reject", 0)], late=True)


def test_nor_by_a_late_resolve_of_a_dead_owner_when_its_events_were_there_before_the_restore() -> None:
    resolve: list[Step] = [event("s1", HIGH), decide(1), ("answer", 0), ("resolve", 1)]
    two: list[Step] = [event("s1", HIGH), event("s1", HIGH), ("crash", 4), decide(1), ("reject", 0), decide(1)]
    simulate([*resolve, *two, ("answer", 0)], late=True)


# keys and routes that change between two owners (design section 18)


def test_a_higher_severity_that_is_decided_again_with_the_first_event_has_its_route() -> None:
    simulate([event("s1", HIGH), decide(1), ("land", 0), event("s1", CRITICAL), ("crash", 0)], routed=True)


def test_a_new_life_with_another_route_is_told_once_the_state_knows_of_it() -> None:
    resolved: list[Step] = [event("s1", HIGH), decide(1), ("answer", 0), ("resolve", 1), ("answer", 0)]
    simulate([*resolved, event("s1", CRITICAL), decide(1), ("land", 0), ("crash", 0)], routed=True)
    simulate([*resolved, event("s1", CRITICAL), decide(1), COMMIT, ("land", 0), ("crash", 0)], routed=True)


def test_it_waits_for_a_checkpoint_for_a_minute_and_no_longer() -> None:
    """A page that does not come is worse than one that is told twice if the task dies as well."""
    resolved: list[Step] = [event("s1", HIGH), decide(1), ("answer", 0), ("resolve", 1), ("answer", 0)]
    simulation = Simulation(routed=True)
    try:
        for name, number in [*resolved, event("s1", CRITICAL), decide(1), *[wait(12.0)] * 4]:
            simulation.step(name, number)
        assert simulation.on_the_wire == []
        for _ in range(2):
            simulation.step(*wait(12.0))
        assert simulation.on_the_wire == ["trigger forbidden_path:s1 at B [2]"]
    finally:
        simulation.close()


@pytest.mark.parametrize("number", range(NUMBERS))
@pytest.mark.parametrize("between", [[], [event("s1", CRITICAL), decide(1)], [end("s1"), decide(1)]])
def test_whatever_the_keys_become_what_was_told_has_one_incident_or_is_an_orphan(
    number: int, between: list[Step]
) -> None:
    told: list[Step] = [event("s1", CRITICAL), decide(1), ("answer", 0), COMMIT, COMMIT]
    simulate([*told, *between, ("reconfigure", number), event("s1", HIGH), ("calm", 7)], routed=True)
    simulate(
        [*told, *between, ("reconfigure", number), event("s1", HIGH), ("calm", 0), ("reconfigure", 0)], routed=True
    )


def test_what_finds_no_room_when_it_is_decided_again_may_have_been_told_by_an_earlier_owner() -> None:
    walk: list[Step] = [
        event("s2", HIGH), ("flap", 7), ("answer", 7), event("s1", HIGH), decide(3), ("crash", 7),
        end("s1"), event("s1", CRITICAL),
    ]  # fmt: skip
    simulate(walk, tight=True, routed=True)
