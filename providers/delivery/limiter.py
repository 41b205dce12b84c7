"""How fast a member may send through one integration key (design section 13, "Rates").

The members of a group share a key's rate and never speak to each other: each knows its own part of the partitions (its
share), and sees the provider's answers. No I/O; the monotonic clock comes as an argument, in seconds.

``tests/support/rate_simulation.py`` judges the numbers below, with many members against a provider that counts calls in
a rolling minute.
"""

import math
from collections.abc import Callable
from typing import Final

from providers.rate import Rate

PACE: Final = 3.0
"""Requests per second beyond a member's share of a burst that leave although no answer has come."""

REFILL_SECONDS: Final = 300.0
"""After so many seconds in which nothing waited, the burst is whole again, however small the share: the group is not
busy."""

RISE_SECONDS: Final = 60.0
"""Seconds in which the sustained rate rises by one share while something waits, or returns to its firm level."""

LEAST_RISE: Final = 1 / 12
"""If a share is less than this part of the documented rate, the sustained rate rises by this part instead: of a hundred
members one may have all the work."""

GROWTH: Final = math.log(2) / 180
"""How much what lies beyond the firm level grows per second: it doubles in three minutes in which something waits, and
halves in three minutes in which nothing does."""

CAUTION: Final = 8.0
"""Each 429 divides the rise by this. A limit per rolling minute shows itself a minute late: a fast rise goes far beyond
it."""

SLOWEST_RISE: Final = 0.01
"""The least rise, however many 429s there were, in firm levels per `RISE_SECONDS`."""

LOWEST: Final = 1 / 8
"""The lowest sustained rate after a 429, in shares."""

SHORTEST_PAUSE: Final = 45.0
LONGEST_PAUSE: Final = 60.0
"""After a 429 nothing leaves for a random number of seconds between these. A member that comes back much before a
rolling minute is over only meets another 429; where members are few, both halves of the minute pass unused then."""

LONGEST_RETRY_AFTER: Final = 3600.0
"""A longer ``Retry-After`` is cut to this: one wrong header must not silence a key for a day."""

_UNLIMITED: Final = Rate(requests_per_second=1e6, burst_size=1e6)
_ROUNDING: Final = 1e-6
"""How many requests a sum of floats may be off. What was let through too much stays in the bucket, so errors do not add
up."""
_SHORTEST_WAIT: Final = 1e-4


class KeyLimiter:
    """What one member may send through one integration key, however many routes use that key.

    Two leaky buckets count requests that have left. ``_burst`` holds a full burst and leaks at the sustained rate, so
    that this member alone never passes the documented rate. ``_paced`` holds the member's share of a burst (at least
    one request); each answer takes one request out of it, and it leaks at `PACE`. So, of many members that begin at
    once, each has sent little beyond its share when the first 429 comes, however long a request takes; and a request
    that hangs holds nothing up.

    The sustained rate is ``_level`` times the member's share of the documented rate. ``_level`` is 1 at first, rises
    while something waits until the sustained rate is the whole documented rate, and is a half or less after a 429.
    Within a minute it returns from there to the *firm* level: half of what it was when the 429 came, and at least 1.
    Beyond the firm level it rises slowly until the burst is whole again.

    ``rate`` None is a key without a limit: only a 429 holds it back. ``random`` returns a number in [0, 1). Nothing may
    leave until `set_share` has given the member a share.
    """

    def __init__(self, rate: Rate | None, *, random: Callable[[], float], now: float) -> None:
        rate = rate or _UNLIMITED
        self._random = random
        self._documented = rate.requests_per_second
        self._burst_size = max(1.0, rate.burst_size)
        self._paced_size = 0.0
        self._burst = 0.0
        self._paced = 0.0
        self._share = 0.0
        self._rate = 0.0  # the member's share of the documented rate
        self._most = 1.0  # the highest level, in shares: all of the documented rate
        self._level = 1.0
        self._firm = 1.0
        self._rise = 0.0
        self._throttled = 0  # how many 429s since the burst was whole
        self._waiting = False
        self._paused_until = -math.inf
        self._at = now

    def set_share(self, share: float, now: float) -> None:
        """From now on the member has the part ``share`` (0 to 1) of the group's partitions. Requests that have left
        still count."""
        self._advance(now)
        self._share = share
        self._rate = share * self._documented
        self._paced_size = max(1.0, self._burst_size * share) if share > 0 else 0.0
        if share > 0:
            self._most = 1 / share
            self._firm = min(self._firm, self._most)
            self._level = min(self._level, self._most)
        self._set_rise()

    def set_waiting(self, waiting: bool, now: float) -> None:
        """Set whether a request waits that only this limiter holds back: only then the rate rises."""
        if waiting is not self._waiting:
            self._advance(now)
            self._waiting = waiting

    def has_token(self, now: float) -> bool:
        """Whether a request may leave."""
        if now < self._paused_until:
            return False
        self._advance(now)
        # Without a share the size is 0, and nothing fits.
        return self._paced + 1 <= self._paced_size + _ROUNDING and self._burst + 1 <= self._burst_size + _ROUNDING

    def take_spare(self, now: float) -> bool:
        """Take a token for what can wait for ever: only where nothing else waits, no 429 is remembered (its end is seen
        by a whole burst), and half of a burst is left for what is urgent. Whether one was taken."""
        if self._waiting or self.is_throttled(now) or not self.has_token(now):
            return False
        if self._burst + 1 > max(1.0, self._burst_size / 2) + _ROUNDING:
            return False
        self._burst += 1  # it is no part of a share of a burst: `_paced` is for what all members send at once
        return True

    def take(self, now: float) -> None:
        """A request leaves. If it did not wait for `has_token`, the next requests wait longer."""
        self._advance(now)
        self._burst += 1
        self._paced += 1

    def next_at(self, now: float) -> float:
        """When `has_token` will be true if nothing happens before: ``now``, later, or infinity without a share.

        Call this only while something waits (`set_waiting`).
        """
        if self._share <= 0:
            return math.inf
        if self.has_token(now):
            return now
        begin = max(now, self._paused_until)
        paced = (self._paced + 1 - self._paced_size) / max(PACE, self._level * self._rate)
        burst = self._seconds_for((self._burst + 1 - self._burst_size) / self._rate)
        return max(begin + max(0.0, paced, burst), now + _SHORTEST_WAIT)

    def withheld_for(self, now: float) -> float:
        """For how many seconds nothing leaves, whatever the rate: the rest of the pause after a 429, infinity without a
        share, else 0."""
        return max(0.0, self._paused_until - now) if self._share > 0 else math.inf

    def answered(self, now: float) -> None:
        """Note that a request was answered, and not with 429."""
        self._advance(now)
        self._paced = max(0.0, self._paced - 1)

    def throttled(self, now: float, retry_after: float | None) -> None:
        """A request was answered 429; ``retry_after`` is the number of seconds that the answer named, if any.

        During a pause a further 429 changes nothing, except that a longer ``Retry-After`` makes the pause longer.
        """
        self._advance(now)
        if now >= self._paused_until:
            self._firm = max(1.0, self._level / 2)
            self._level = max(LOWEST, min(self._level, 1.0) / 2)
            self._throttled += 1
            self._set_rise()
            # Each member keeps a random part of one request, so that not all send their next one at the same moment.
            self._burst = max(self._burst, self._burst_size - self._random())
            self._paused_until = now + SHORTEST_PAUSE + self._random() * (LONGEST_PAUSE - SHORTEST_PAUSE)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + min(retry_after, LONGEST_RETRY_AFTER))

    def is_throttled(self, now: float) -> bool:
        """Whether there has been a 429 since the burst was last whole."""
        self._advance(now)
        return self._throttled > 0

    def _set_rise(self) -> None:
        """Set by how many shares per second the level rises just beyond the firm level; to be called after a change of
        share, firm level or number of 429s."""
        if self._throttled:
            rise = self._firm * max(SLOWEST_RISE, CAUTION**-self._throttled)
        else:
            rise = max(1.0, LEAST_RISE / self._share) if self._share > 0 else 0.0
        self._rise = rise / RISE_SECONDS

    def _advance(self, now: float) -> None:
        """Let the buckets leak, and the level change, up to ``now``. The time of a pause does not count."""
        at = self._at
        if now <= at:
            return
        self._at = now
        if at < self._paused_until:
            at = self._paused_until
        elapsed = now - at
        if elapsed <= 0 or self._share <= 0:
            return
        rate = self._rate
        if self._paced > 0:
            self._paced = max(0.0, self._paced - elapsed * max(PACE, self._level * rate))
        leaked = rate * self._let_through(elapsed)
        if self._waiting:
            self._burst = max(0.0, self._burst - leaked)
            return
        leaked = max(leaked, elapsed * min(self._documented, self._burst_size / REFILL_SECONDS))
        self._burst = max(0.0, self._burst - leaked)
        if self._burst == 0:
            self._rest(elapsed)

    def _let_through(self, elapsed: float) -> float:
        """Raise the level for ``elapsed`` seconds. Returns the integral of the level over that time (share-seconds)."""
        before, passed = self._level, 0.0
        if before < self._firm:
            rise = self._firm / RISE_SECONDS
            recovering = (self._firm - before) / rise
            if elapsed < recovering:
                self._level = before + elapsed * rise
                return elapsed * (before + self._level) / 2
            passed = recovering * (before + self._firm) / 2
            elapsed -= recovering
            before = self._level = self._firm
        if not self._waiting or before >= self._most:
            return passed + elapsed * before
        rise = self._rise + (before - self._firm) * GROWTH
        rising = (self._most - before) / rise
        if elapsed < rising:
            self._level = before + elapsed * rise
            return passed + elapsed * (before + self._level) / 2
        self._level = self._most
        return passed + rising * (before + self._most) / 2 + (elapsed - rising) * self._most

    def _seconds_for(self, share_seconds: float) -> float:
        """In how many seconds `_let_through` would let through ``share_seconds``."""
        if share_seconds <= 0:
            return 0.0
        level, firm, passed, rise = self._level, self._firm, 0.0, self._rise
        if level < firm:
            recovery = firm / RISE_SECONDS
            passed = (firm - level) / recovery
            while_recovering = passed * (level + firm) / 2
            if share_seconds < while_recovering:
                return _seconds(share_seconds, level, recovery)
            share_seconds -= while_recovering
            level = firm
        else:
            rise += (level - firm) * GROWTH
        if not self._waiting or level >= self._most:
            return passed + share_seconds / level
        rising = (self._most - level) / rise
        while_rising = rising * (level + self._most) / 2
        if share_seconds < while_rising:
            return passed + _seconds(share_seconds, level, rise)
        return passed + rising + (share_seconds - while_rising) / self._most

    def _rest(self, elapsed: float) -> None:
        """The burst is whole and nothing waits: forget the 429s, and lower what lies beyond the share."""
        if self._throttled:
            self._firm, self._throttled = 1.0, 0
            self._set_rise()
        if self._level > 1:
            self._level = 1 + (self._level - 1) * math.exp(-GROWTH * elapsed)


def _seconds(share_seconds: float, level: float, rise: float) -> float:
    """The seconds in which a level that rises by ``rise`` per second lets through ``share_seconds``."""
    return 2 * share_seconds / (level + math.sqrt(level * level + 2 * share_seconds * rise))
