"""Finds, among very many keys, those that look like a key that does not exist.

Comparing two whole keys takes some 0.1 ms, and comparing their beginnings and ends takes some µs: for a million keys
this is minutes and seconds. So one pass, which costs 0.2 µs a key, keeps only the keys that share with the missing key
a beginning or an end so long that few keys have it. If the missing key was mistyped in one place, the key that was
meant is among these.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from heapq import nlargest
from typing import Final

NAMED: Final = 3
"""How many keys are named for a missing key."""

ASKED: Final = 5
"""For how many missing keys the nearest keys are looked for."""

_SAMPLE: Final = 2000
"""How many keys are a sample, which shows how common a beginning or an end is."""

_FEW: Final = 5
"""A beginning or an end is rare if at most this many keys of the sample have it: 0.25 %."""

_COMPARED: Final = 50
"""How many keys are compared with a missing key as a whole."""


def nearest(missing: Sequence[str], keys: Sequence[str]) -> list[list[str]]:
    """For each of the first `ASKED` missing keys, up to `NAMED` keys that look like it, the nearest first."""
    sample = keys[:: 1 + len(keys) // _SAMPLE]
    sought = [_Sought(key, sample) for key in missing[:ASKED]]
    heads, tails = tuple(one.head for one in sought if one.head), tuple(one.tail for one in sought if one.tail)
    begins, ends = (
        tuple(one.around[0] for one in sought if one.around),
        tuple(one.around[1] for one in sought if one.around),
    )
    alike = [
        key
        for key in keys
        if key.startswith(heads) or key.endswith(tails) or (key.startswith(begins) and key.endswith(ends))
    ]
    return [one.nearest(alike) for one in sought]


class _Sought:
    """A missing key.

    ``head`` is the shortest beginning of the key that is rare among the sample, ``tail`` the shortest rare end; each is
    empty if even the whole key is not rare. If the two overlap, a key that was mistyped in the overlap has neither;
    then ``around`` is the text before the overlap and the text behind it, unless keys with both are common (None).
    """

    def __init__(self, key: str, sample: Sequence[str]) -> None:
        self._key, size = key, len(key)
        begins, self._begin_like_it = _telling(sample, size, lambda one, count: one.startswith(key[:count]))
        ends, self._end_like_it = _telling(sample, size, lambda one, count: one.endswith(key[size - count :]))
        self.head, self.tail = key[: begins or 0], key[size - (ends or 0) :]
        self.around: tuple[str, str] | None = None
        if begins is not None and ends is not None and begins + ends > size:
            begin, end = self.around = key[: size - ends], key[begins:]
            if sum(one.startswith(begin) and one.endswith(end) for one in sample) > _FEW:
                self.around = None

    def nearest(self, alike: Sequence[str]) -> list[str]:
        """The keys that look most like this one; ``alike`` has candidates for this and other missing keys."""
        different = dict.fromkeys(
            [*filter(self._is_like_it, alike), *self._begin_like_it, *self._end_like_it],
        )
        most_alike = nlargest(_COMPARED, different, key=lambda key: (_common_ends(self._key, key), key))
        return get_close_matches(self._key, most_alike, NAMED)

    def _is_like_it(self, key: str) -> bool:
        return (
            (self.head != "" and key.startswith(self.head))
            or (self.tail != "" and key.endswith(self.tail))
            or (self.around is not None and key.startswith(self.around[0]) and key.endswith(self.around[1]))
        )


def _telling(sample: Sequence[str], size: int, has: Callable[[str, int], bool]) -> tuple[int | None, Sequence[str]]:
    """How many of a key's ``size`` characters make a part that is rare in the sample (None: even all of them are
    common); and some keys of the sample that have this part."""
    least, most = 1, size + 1
    while least < most:
        middle = (least + most) // 2
        if sum(has(one, middle) for one in sample) <= _FEW:
            most = middle
        else:
            least = middle + 1
    like_it = [one for one in sample if has(one, min(least, size))]
    return (least if least <= size else None), like_it[:_COMPARED]


def _common_ends(one: str, other: str) -> int:
    return _common_beginning(one, other) + _common_beginning(one[::-1], other[::-1])


def _common_beginning(one: str, other: str) -> int:
    """How many characters both texts begin with, found by bisection."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if other.startswith(one[:middle]):
            least = middle
        else:
            most = middle - 1
    return least
