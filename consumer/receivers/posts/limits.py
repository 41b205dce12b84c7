"""How large written records and batches may be: as the topics say, and as Kafka's refusals show. Pure."""

LEAST_BYTES = 1024


class Limits:
    """Limits in bytes. ``event`` is for value and key of an event, ``dead_letter`` for a batch with one dead letter
    (None: not known), ``batch`` for a batch of several records.

    A limit that a refusal has lowered stays lowered while the process runs.
    """

    def __init__(self, events_topic: str, event: int, batch: int) -> None:
        self._events_topic = events_topic
        self.event = event
        self.batch = batch
        self.dead_letter: int | None = None
        self._learned_event, self._learned_dead_letter, self._learned_batch = event, 1 << 31, batch

    def told(self, event: int, dead_letter: int, batch: int) -> None:
        """Set the limits that the topics have now."""
        self.event = min(event, self._learned_event)
        self.dead_letter = min(dead_letter, self._learned_dead_letter)
        self.batch = max(LEAST_BYTES, min(batch, self._learned_batch))

    def refused(self, topic: str, size: int) -> None:
        """Kafka has refused a batch as too large; ``size`` is value and key of a record in it, in bytes.

        A record larger than ``batch`` was alone in its batch, so the record is too large. Else the batch may have been:
        try smaller ones first.
        """
        if size <= self.batch and self.batch > LEAST_BYTES:
            self._learned_batch = max(LEAST_BYTES, self.batch // 2)
        elif topic == self._events_topic:
            self._learned_event = min(self._learned_event, size - 1)
        else:
            self._learned_dead_letter = max(LEAST_BYTES, min(self._learned_dead_letter, size) // 2)
