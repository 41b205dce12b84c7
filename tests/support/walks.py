"""Walks of a simulation: lists of steps, each a name and a number that says which, at random or written out.

A step that a test writes out is made by the functions here, so that it reads as what happens:
``event("s1", CRITICAL)``.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from state.violation import SEVERITY_BY_LABEL, Severity

HIGH, CRITICAL = Severity.HIGH, Severity.CRITICAL

Step = tuple[str, int]

SAYS = (("s1", "high"), ("s1", "high"), ("s1", "critical"), ("s2", "high"), ("s1", "high"), ("s2", "critical"))
"""Session, and so dedup key, and severity of the events that may occur."""

WAITS = (0.1, 0.3, 1.0, 2.0, 3.9, 6.0, 12.0, 25.0)

WEIGHTS = {
    "event": 10, "end": 4, "flap": 5, "decide": 10, "tick": 8, "wait": 4, "calm": 2, "resolve": 4,
    "land": 6, "answer": 10, "reject": 3, "outage": 2, "throttle": 1, "refuse": 1, "break": 3, "late": 4,
    "commit": 10, "commit_fails": 3, "crash": 3, "hand_over": 1, "proof": 1, "revoke": 2, "clock": 1,
}  # fmt: skip
NUMBERS = 8

PEOPLE_WEIGHTS = {
    **{name: weight for name, weight in WEIGHTS.items() if name != "clock"},
    **{"take": 3, "close": 5, "hear": 8, "twice": 2},
}
"""The same where people acknowledge and resolve at the provider, and that is heard of in any order. (Which of two
moments was the first our wall clock says, as long as nobody puts it back.)"""

_SILENCE = {"silence": 8, "unsilence": 2, "read": 2, "quietly": 6, "pass": 5}

SILENCED_WEIGHTS = {
    **{name: weight for name, weight in WEIGHTS.items() if name not in ("clock", "revoke")},
    **_SILENCE,
}
"""The same where sessions are silenced for a while. (When a silence ends the times of records say, and our own
checkpoints are records; here no broker refuses those of a clock that is far ahead. A revoked key is no matter of
silences.)"""

SKEWED_WEIGHTS = {**{name: weight for name, weight in SILENCED_WEIGHTS.items() if name != "crash"}, "clock": 4}
"""The same where the member's wall clock is wrong, and steps. (Nobody starts again: until a record of the input was
read, the time is also that of the member's own last checkpoint.)"""

SILENCED_PEOPLE_WEIGHTS = {**PEOPLE_WEIGHTS, **_SILENCE}
"""Both."""

ROUTED_WEIGHTS = {**WEIGHTS, "reconfigure": 4}
"""The same where a member may be started again with other keys and routes."""

SILENCED_ROUTED_WEIGHTS = {**SILENCED_WEIGHTS, "reconfigure": 4}
"""The same where sessions are silenced as well."""

SKEWS = (0.0, 2700.0, -2700.0, 31_536_000.0, -31_536_000.0, 40.0, -40.0, 0.0)
"""By how many seconds the wall clock of the member may be wrong."""


def event(session: str, severity: Severity) -> Step:
    """An event of the session occurs; one of `SAYS`."""
    said = [(of, SEVERITY_BY_LABEL[label]) for of, label in SAYS]
    return "event", said.index((session, severity))


def end(session: str) -> Step:
    """The session ends: s1 or s2."""
    return "end", ("s2", "s1").index(session)


def decide(records: int) -> Step:
    """The task decides so many records, if there are."""
    return "decide", 2 * (records - 1)


def wait(seconds: float) -> Step:
    """So much time passes; one of `WAITS`."""
    return "wait", WAITS.index(seconds)


TICK: Step = ("tick", 0)
"""A second passes, and a member does what it does once in it."""

COMMIT: Step = ("commit", 0)
"""The checkpoint that waits for it is committed."""


def random_walk(
    seed: object, length: int = 60, weights: Mapping[str, int] = WEIGHTS, numbers: int = NUMBERS
) -> list[Step]:
    """A walk, the same for the same seed."""
    chance = random.Random(repr(seed))
    names = chance.choices(list(weights), list(weights.values()), k=length)
    return [(name, chance.randrange(numbers)) for name in names]


def shortest(walk: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """The walk without every step that it fails without."""
    kept, size = list(walk), len(walk) // 2
    while size:
        index = 0
        while index < len(kept):
            shorter = kept[:index] + kept[index + size :]
            if fails(shorter):
                kept = shorter
            else:
                index += size
        size //= 2
    return kept
