"""Which of very many keys look like one that is not there.

To compare two keys as a whole takes some 0.1 ms, and a look at both of their ends some µs: for a million keys, minutes
and seconds. So one pass, in which a key costs 0.2 µs, leaves those that begin or end so far like the missing one as few
others do; where it was mistyped in one place, the key that was meant is among them.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from heapq import nlargest
from typing import Final

NAMED: Final = 3
"""So many keys are named beside one that is not there."""

ASKED: Final = 5
"""For so many missing keys the nearest are looked for."""

_SAMPLE: Final = 2000
"""Keys by which it is seen how many others begin or end like one."""

_FEW: Final = 5
"""Of them: 0.25 %."""

_COMPARED: Final = 50
"""With how many keys one is compared as a whole."""


def nearest(missing: Sequence[str], keys: Sequence[str]) -> list[list[str]]:
    """For each of the first `ASKED` missing keys up to `NAMED` that look like it, the nearest first."""
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
    """A missing key. ``head`` and ``tail`` are so much of its beginning and its end as few keys have; empty if many
    have all of it. Where both hold the same place, ``around`` is what is before and behind that: if it was mistyped
    there, the key that was meant has neither; None where many have that."""

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
        """Of the keys that are like this one or another, those that look like this one most."""
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
    """How much of a key has to be looked at, of ``size`` characters, so that few of the sample have as much (None: many
    have all of it), and some that have."""
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
    """How many characters both begin with, found by halving."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if other.startswith(one[:middle]):
            least = middle
        else:
            most = middle - 1
    return least
