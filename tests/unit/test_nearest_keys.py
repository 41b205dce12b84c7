"""The nearest keys to one that is not there: among very many, found in a moment."""

import random
import time
import uuid
from collections.abc import Callable

import pytest

from consumer.cli.nearest_keys import ASKED, NAMED, nearest

MANY = 200_000


def numbered() -> list[str]:
    return [f"forbidden_path:session-{number:07}" for number in range(MANY)]


def of_guards() -> list[str]:
    chance = random.Random(1)
    guards = ["forbidden_path", "secret_leak", "egress_allowlist"]
    return [f"{chance.choice(guards)}:{uuid.UUID(int=chance.getrandbits(128))}" for _ in range(MANY)]


def long_ones() -> list[str]:
    return [f"guard:{'session' * 60}{number:07}{'end' * 20}" for number in range(MANY)]


def mistyped(key: str) -> list[str]:
    """One character of it is missing, another, or one too many, near its beginning, its middle and its end."""
    places = (3, len(key) // 2, len(key) - 3)
    return [
        f"{key[:at]}{changed}{key[rest:]}"
        for at in places
        for changed, rest in (("", at + 1), ("x", at + 1), ("x", at))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("made", [numbered, of_guards])
def test_a_key_that_was_mistyped_in_one_place_is_found(made: Callable[[], list[str]]) -> None:
    keys = made()
    meant = [(key, each) for key in (keys[0], keys[77_123], keys[-1]) for each in mistyped(key)]
    for begin in range(0, len(meant), ASKED):
        some = meant[begin : begin + ASKED]
        for (key, missing), near in zip(some, nearest([each for _, each in some], keys), strict=True):
            assert near, missing
            assert near[0] == key or _distance_is_one(near[0], missing), (missing, near)


def _distance_is_one(one: str, other: str) -> bool:
    """Of two keys that both may have been meant, whether this one is as near as any."""
    begins = next(at for at in range(max(len(one), len(other))) if one[at : at + 1] != other[at : at + 1])
    return any(one[begins + a :] == other[begins + b :] for a, b in ((1, 1), (0, 1), (1, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("made", [numbered, of_guards, long_ones])
def test_the_nearest_of_very_many_keys_are_found_in_a_moment(made: Callable[[], list[str]]) -> None:
    keys = made()
    missing = [mistyped(key)[at] for at, key in enumerate(keys[:: MANY // 7])]
    began = time.process_time()
    found = nearest(missing, keys)
    nearest(["", "x", "7", "x" * 500, keys[0][:9]], keys)
    assert time.process_time() - began < 0.8, "each took two seconds"
    assert len(found) == ASKED
    assert all(found)


def test_what_is_like_nothing_is_like_nothing_and_what_begins_like_everything_is_like_some() -> None:
    keys = numbered()
    assert nearest(["no such thing"], keys) == [[]]
    (near,) = nearest(["forbidden_path:session-0"], keys)
    assert len(near) == NAMED
    assert nearest(["x"], []) == [[]]
    assert nearest(["", "x"], ["x1", "x1"]) == [[], ["x1"]]
