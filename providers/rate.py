"""How many requests a provider accepts through one integration key (design section 13, "Rates")."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: ``requests_per_second`` in the long run, ``burst_size`` at once."""

    requests_per_second: float
    burst_size: float
