"""The home protocol (design section 17) in every order within small bounds, and what each of its rules is for."""

from random import Random

import pytest

from tests.model.homes import RULES, Rules, World, explore, walk

WORLDS = [
    World("ere"),
    World("ee", timers=1, early=1),
    World("er", crashes=1, early=1),
    World("ee", crashes=1),
    World("re", early=1),
    World("ee", stale=1),
    World("e", commands=1),
    World("e", homes=(0, 1), counts=(1, 3)),
    World("ee", old_home_is_down=True),
    World("ee", timers=1, parts=1, decides_on=True),
    World("ee", crashes=1, parts=1, decides_on=True),
    World("er", parts=1, early=1, decides_on=True),
]
"""Two producers of one key at a time, crashes, old answers of brokers, a partitioner that is guessed wrongly, more than
one checkpoint can hand over."""

TOO_LARGE = [
    World("eere", timers=1, crashes=1, early=1, stale=1),
    World("eere", homes=(0, 1, 2), counts=(1, 2, 3), timers=1, crashes=1, early=1),
    World("eree", homes=(0, 1), counts=(1, 3), timers=2, crashes=2, early=1),
    World("ere", homes=(0, 2, 1), counts=(1, 3, 3), timers=1, crashes=1),
    World("eere", timers=1, crashes=2, early=1, parts=2, decides_on=True),
    World("ere", homes=(0, 1, 2), counts=(1, 2, 3), timers=1, crashes=1, parts=2, decides_on=True),
]
"""Of these some ways at random: another growth during the first one, more crashes, another belief about the partitioner
while the count stays the same."""

WALKS = 300
"""Some thousands of each have been walked once."""

WEAKENED = {
    "fresh_count": (World("ee", timers=1), "resolved live"),
    "only_home_speaks": (World("ee", timers=1), "resolved live"),
    "to_the_end_first": (World("ee", timers=1), "closed live"),
    "move_waits_for_answer": (World("er"), "opened twice"),
    "forward": (World("e"), "lost"),
    "end_knows_its_time": (World("re"), "resolved live"),
    "trigger_waits_for_mark": (World("ee", timers=1), "closed live"),
    "speaks_anyway": (World("e", old_home_is_down=True), "lost"),
    "early_is_repeated": (World("ee", early=1, timers=1), "open here only"),
    "quiet_waits_for_marks": (World("ee", early=1, timers=1), "resolved live"),
    "quiet_waits_for_all": (World("ee", timers=1), "resolved live"),
    "resolving_is_unsettled": (World("ee", timers=1), "open here only"),
    "ends_are_remembered": (World("er"), "not ended"),
    "ends_go_along": (World("er"), "not ended"),
    "resolve_waits_for_late_ones": (World("ee", timers=1), "open here only"),
}
"""Of each rule a small world in which a promise is broken without it: the shortest way is found."""

WEAKENED_AT_RANDOM = {
    "highest_count": (World("ee", stale=1), "two alerts"),
    "one_transaction": (World("er", crashes=2), "opened twice"),
    "resolve_waits_for_marks": (World("eer", early=1), "opened twice"),
    "passed_on_first": (World("ee", homes=(0, 1, 2), counts=(1, 2, 3), timers=1), "resolved live"),
    "owed_adds_up": (World("ee", early=1, timers=1), "lost"),
}
"""The same where the shortest way is long: one at random is found sooner."""

NOT_NEEDED = {"learn_from_marks"}
"""Only hastens the move: a task that does not know of the growth is built again all the same."""


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_no_order_breaks_a_promise(world: World) -> None:
    found = explore(Rules(), world)

    assert found.broken == {}
    assert found.is_complete
    assert found.states > 100


@pytest.mark.parametrize("world", TOO_LARGE, ids=str)
def test_no_way_at_random_breaks_a_promise(world: World) -> None:
    ways = [walk(Rules(), world, Random(number)) for number in range(WALKS)]

    assert [way for way in ways if way is not None] == []


@pytest.mark.parametrize("rule", WEAKENED)
def test_each_rule_is_needed(rule: str) -> None:
    world, promise = WEAKENED[rule]

    found = explore(Rules().without(rule), world, only_first=True)

    assert list(found.broken) == [promise]


@pytest.mark.parametrize("rule", WEAKENED_AT_RANDOM)
def test_each_rule_is_needed_as_some_way_at_random_shows(rule: str) -> None:
    world, promise = WEAKENED_AT_RANDOM[rule]

    ways = (walk(Rules().without(rule), world, Random(number)) for number in range(1, 10 * WALKS))

    assert next((way[-1] for way in ways if way is not None), None) == promise


def test_a_rule_that_is_not_needed_breaks_nothing() -> None:
    for rule in NOT_NEEDED:
        for world in (World("ee", timers=1), World("er", early=1)):
            assert explore(Rules().without(rule), world).broken == {}


def test_each_rule_is_accounted_for() -> None:
    assert set(RULES) == WEAKENED.keys() | WEAKENED_AT_RANDOM.keys() | NOT_NEEDED
