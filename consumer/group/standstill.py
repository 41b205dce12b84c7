"""For how long a member could prove its ownership and does not: what a restart of the process may mend. Pure.

An outage of Kafka is none, nor is a rebalance, a restore, or having no partitions: a restart would only add to these.
"""

ASK_SECONDS = 15.0
"""Between two times that Kafka is asked whether it answers, while a member has no proof."""


class Standstill:
    """Seconds since when Kafka has answered all the time while a member waited in vain for a proof."""

    def __init__(self) -> None:
        self._waits = False
        self._since: float | None = None
        self._asked_at: float | None = None

    def observe(self, *, waits: bool) -> None:
        """Whether the member has partitions and no proof, and neither a rebalance nor a restore is under way."""
        self._waits = waits
        if not waits:
            self._since = self._asked_at = None

    def is_time_to_ask(self, now: float) -> bool:
        """Whether Kafka is to be asked now."""
        return self._waits and (self._asked_at is None or now - self._asked_at >= ASK_SECONDS)

    def asked(self, now: float, *, answered: bool) -> None:
        """Kafka was asked at this moment, over a connection of its own, and answered or not."""
        if not self._waits:
            return
        self._asked_at = now
        if not answered:
            self._since = None
        elif self._since is None:
            self._since = now

    def seconds(self, now: float) -> float:
        """How long it has lasted; 0 if it has not begun."""
        return now - self._since if self._since is not None else 0.0
