"""Which events the silences of a run keep silent, as far as their records say (design section 22).

Between the moment at which a silence is written and that at which each member has read it, an event may be silenced or
not; so may one that comes when an early end is not read yet. Outside of these it is certain.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import orjson

KNOWN_SECONDS = 4.0
"""So long after a silence was written at the latest, where nothing is in the way, each member has read of it."""

TENANT = "acme-corp"
"""Of all sessions here."""


@dataclass(frozen=True, slots=True)
class SilenceRecord:
    """A record of the silences topic; ``written`` is its timestamp."""

    id: str
    scope: str
    match: dict[str, str]
    include_critical: bool
    starts: float
    ends: float
    written: float

    def fits(self, guard: str | None, session: str, *, is_critical: bool, provider: str) -> bool:
        """Whether it is about such events, at whatever time."""
        facts = {"guard": guard, "session_id": session, "tenant_id": TENANT}
        return (
            self.scope in ("all", provider)
            and (self.include_critical or not is_critical)
            and all(fnmatchcase(facts[name] or "", pattern) for name, pattern in self.match.items())
        )

    def holds(self, at: float) -> bool:
        """Whether it holds for what is recorded then."""
        return self.starts <= at < self.ends


def silence_record(key: bytes | None, value: bytes | None, written: float) -> SilenceRecord | None:
    """What a record says; None if it says nothing."""
    try:
        facts: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if key is None or facts["id"] != key.decode():
        return None
    starts, ends = (datetime.fromisoformat(facts[name]).timestamp() for name in ("starts_at", "expires_at"))
    return SilenceRecord(
        facts["id"], facts["scope"], facts["match"], facts.get("include_critical", False), starts, ends, written
    )


class Silences:
    """The silences as they are about the alert of one key at one provider.

    ``deaf``: from when to when a member may not have heard of what was written.
    """

    def __init__(self, records: Iterable[SilenceRecord] = (), deaf: Iterable[tuple[float, float]] = ()) -> None:
        self._versions: dict[str, list[SilenceRecord]] = defaultdict(list)
        for one in records:
            self._versions[one.id].append(one)
        self._deaf = sorted(deaf)

    def __bool__(self) -> bool:
        return bool(self._versions)

    def of(self, provider: str, guard: str | None, session: str, *, is_critical: bool) -> list[Sequence[SilenceRecord]]:
        """The records of each silence that is about such events."""
        return [
            versions
            for versions in self._versions.values()
            if versions[0].fits(guard, session, is_critical=is_critical, provider=provider)
        ]

    def known_at(self, written: float) -> float:
        """When each member has read what was written then."""
        known = written + KNOWN_SECONDS
        for begun, over in self._deaf:
            if begun < known and over > written:
                known = max(known, over + KNOWN_SECONDS)
        return known

    def latest_end(self, versions: Sequence[SilenceRecord], at: float) -> float | None:
        """Until when a silence may keep silent, at most, what was recorded ``at``; None if it cannot."""
        ends = [
            self._last(one, after) for one, after in pairwise([*versions, None]) if one is not None and one.starts <= at
        ]
        held = [end for end in ends if at < end]
        return max(held) if held else None

    def earliest_end(self, versions: Sequence[SilenceRecord], at: float) -> float | None:
        """Until when a silence must keep silent, at least, what was recorded ``at``; None if it need not."""
        for number, one in enumerate(versions):
            if self.known_at(one.written) <= at and all(later.holds(at) for later in versions[number:]):
                return min(later.ends for later in versions[number:])
        return None

    def _last(self, one: SilenceRecord, after: SilenceRecord | None) -> float:
        return one.ends if after is None else min(one.ends, self.known_at(after.written))
