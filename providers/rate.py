"""How many requests a route may make (design section 9)."""

from dataclasses import dataclass

from aiolimiter import AsyncLimiter


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: ``requests_per_second`` in the long run, ``burst_size`` at once."""

    requests_per_second: float
    burst_size: float

    def limiter(self, share: float) -> AsyncLimiter:
        """A full bucket with this member's share (0 to 1] of the rate; of the burst at least one request."""
        burst = max(1.0, self.burst_size * share)
        return AsyncLimiter(burst, burst / (self.requests_per_second * share))
