"""For how long a member gets no proof of ownership although Kafka answers: only then a restart of the process may help,
and `/healthz` fails. Pure.

Not counted are an outage of Kafka, a rebalance, a restore, and having no partitions: a restart would only prolong them.
"""

ASK_SECONDS = 15.0
"""Seconds between two questions to Kafka whether it answers, while a member has no proof."""


class Standstill:
    """Counts for how long Kafka has answered while a member waited in vain for a proof of ownership."""

    def __init__(self) -> None:
        self._waits = False
        self._since: float | None = None
        self._asked_at: float | None = None

    def observe(self, *, waits: bool) -> None:
        """Take in whether the member waits for a proof: it has partitions and no proof, and neither a rebalance nor a
        restore is under way."""
        self._waits = waits
        if not waits:
            self._since = self._asked_at = None

    def is_time_to_ask(self, now: float) -> bool:
        """Whether Kafka is to be asked now."""
        return self._waits and (self._asked_at is None or now - self._asked_at >= ASK_SECONDS)

    def asked(self, now: float, *, answered: bool) -> None:
        """Take in whether Kafka has ``answered`` at this moment, on a connection of its own."""
        if not self._waits:
            return
        self._asked_at = now
        if not answered:
            self._since = None
        elif self._since is None:
            self._since = now

    def seconds(self, now: float) -> float:
        """For how many seconds the standstill has lasted; 0 if there is none."""
        return now - self._since if self._since is not None else 0.0
