"""How fast a member may send through one integration key (design section 13, "Rates").

The members of a group share a key's rate and never speak to each other. Each knows its part of the partitions, and sees
the provider's 429. No I/O; the monotonic clock comes as an argument, in seconds.
"""

import math
from collections.abc import Callable
from typing import Final

from providers.rate import Rate

PACE: Final = 3.0
"""Requests per second beyond a member's share of a burst that leave although no answer has come."""

RECOVERY: Final = 1 / 60
"""Shares per second by which the sustained rate comes back to the share after a 429, also while nothing waits."""

RISE: Final = 1 / 60
"""Shares per second by which it rises beyond the share, at first, while something waits."""

CAREFUL_RISE: Final = 0.01 / 60
"""The same after a 429, until the burst is whole again: others are busy, and a rolling minute answers a minute late."""

GROWTH: Final = math.log(2) / 180
"""What is beyond the share doubles every three minutes, so that one of a hundred comes to the whole rate too."""

SHORTEST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 60.0
"""Seconds in which nothing leaves after a 429, at random between the two: members come back one by one."""

LONGEST_RETRY_AFTER: Final = 3600.0
"""A longer ``Retry-After`` is cut to this: one wrong header must not silence a key for a day."""

LOWEST: Final = 1 / 8
"""Shares per second below which no 429 takes the sustained rate."""

_ROUNDING: Final = 1e-6
"""Requests by which a sum of floats may be off; a debt of this size is carried on, so it does not add up."""


class KeyLimiter:
    """What one member may send through one integration key, however many routes use that key.

    Two leaky buckets count requests that have left. ``_burst`` holds a full burst and leaks at the sustained rate, so
    that this member alone never passes the documented rate. ``_paced`` holds the member's share of a burst (at least
    one request); what is answered leaves it, and it leaks at `PACE`. So of many members that begin at once each has
    sent little when the first 429 comes, whatever a request takes, and one that hangs holds nothing up.

    The sustained rate is ``_shares`` times the member's share of the documented one: 1 at first, up to all of it while
    something waits, a half and less after a 429.

    ``rate`` None is a key without a limit: only a 429 holds it back. ``random`` gives a number in [0, 1). Until
    `set_share` has given it a part of the rate, nothing may leave.
    """

    def __init__(self, rate: Rate | None, *, random: Callable[[], float], now: float) -> None:
        self._random = random
        self._rate = math.inf if rate is None else rate.requests_per_second
        self._burst_size = math.inf if rate is None else max(1.0, rate.burst_size)
        self._share = 0.0
        self._shares = 1.0
        self._rise = RISE
        self._waiting = False
        self._burst = 0.0
        self._paced = 0.0
        self._paced_size = 1.0
        self._paused_until = -math.inf
        self._at = now

    def set_share(self, share: float, now: float) -> None:
        """The member has this part (0 to 1) of the group's partitions from now on. What was used stays used."""
        self._advance(now)
        self._share = share
        self._paced_size = max(1.0, self._burst_size * share) if share > 0 else 0.0
        if share > 0:
            self._shares = min(self._shares, 1 / share)

    def set_waiting(self, waiting: bool, now: float) -> None:
        """Whether something waits that would leave now but for this limiter."""
        if waiting is not self._waiting:
            self._advance(now)
            self._waiting = waiting

    def has_token(self, now: float) -> bool:
        """Whether a request may leave."""
        if now < self._paused_until:
            return False
        self._advance(now)
        return (
            self._paced + 1 <= self._paced_size + _ROUNDING  # 0 without a share
            and self._burst + 1 <= self._burst_size + _ROUNDING
        )

    def take(self, now: float) -> None:
        """A request leaves. One that could not wait for `has_token` is a debt, which the next ones wait for."""
        self._advance(now)
        self._burst += 1
        self._paced += 1

    def next_at(self, now: float) -> float:
        """When `has_token` is true next if nothing else happens; ``now`` if it is, infinity if no time changes it."""
        if self._share <= 0:
            return math.inf
        self._advance(now)
        begin = max(now, self._paused_until)
        paced = self._paced + 1 - self._paced_size
        burst = self._burst + 1 - self._burst_size
        return begin + max(
            paced / self._pace() if paced > _ROUNDING else 0.0,
            self._seconds_for(burst / (self._rate * self._share)) if burst > _ROUNDING else 0.0,
        )

    def answered(self, now: float) -> None:
        """A request that took a token was answered, and not with 429."""
        self._advance(now)
        self._paced = max(0.0, self._paced - 1)

    def throttled(self, now: float, retry_after: float | None) -> None:
        """The provider has answered 429, and named ``retry_after`` seconds or none.

        Answers to requests that had left before the pause began tell nothing new, except a longer ``Retry-After``.
        """
        self._advance(now)
        if now >= self._paused_until:
            self._shares = max(LOWEST, min(self._shares, 1.0) / 2)
            self._rise = CAREFUL_RISE
            # With a part of a request each, at random, members do not all send their next one at the same moment.
            self._burst = max(self._burst, self._burst_size - self._random())
            self._paused_until = now + SHORTEST_PAUSE + self._random() * (LONGEST_PAUSE - SHORTEST_PAUSE)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + min(retry_after, LONGEST_RETRY_AFTER))

    def _pace(self) -> float:
        return max(PACE, self._shares * self._share * self._rate)

    def _advance(self, now: float) -> None:
        """Let the buckets leak, and the rate rise, up to now. A pause is no time: nothing is learnt in it."""
        elapsed = now - max(self._at, self._paused_until)
        if now > self._at:
            self._at = now
        if elapsed <= 0 or self._share <= 0:
            return
        self._paced = max(0.0, self._paced - self._pace() * elapsed)
        leaked, shares = 0.0, self._shares
        if shares < 1:
            recovering = min(elapsed, (1 - shares) / RECOVERY)
            leaked = recovering * (shares + recovering * RECOVERY / 2)
            elapsed -= recovering
            shares = min(1.0, shares + recovering * RECOVERY)
        leaked += elapsed * shares
        self._burst = max(0.0, self._burst - leaked * self._share * self._rate)
        if self._burst == 0:
            self._rise = RISE
        if self._waiting and elapsed > 0:
            shares = min(1 / self._share, shares + elapsed * (self._rise + (shares - 1) * GROWTH))
        self._shares = shares

    def _seconds_for(self, share_seconds: float) -> float:
        """How long the rate as it is takes to let through this much, in seconds at one share."""
        shares = self._shares
        recovering = max(0.0, (1 - shares) / RECOVERY)
        until_recovered = recovering * (shares + 1) / 2
        if share_seconds >= until_recovered:
            return recovering + (share_seconds - until_recovered) / max(1.0, shares)
        return (math.sqrt(shares**2 + 2 * share_seconds * RECOVERY) - shares) / RECOVERY
