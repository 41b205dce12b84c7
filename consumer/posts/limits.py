"""How large what is written may be: as the topics tell, and as Kafka's refusals teach where they do not. Pure."""

LEAST_BYTES = 1024


class Limits:
    """In bytes. ``event`` is value and key of an event, ``dead_letter`` a batch of one, ``batch`` a batch of several.

    What a refusal has taught is kept while the process runs.
    """

    def __init__(self, events_topic: str, event: int, batch: int) -> None:
        self._events_topic = events_topic
        self.event = event
        self.batch = batch
        self.dead_letter: int | None = None
        self._learned_event, self._learned_dead_letter, self._learned_batch = event, 1 << 31, batch

    def told(self, event: int, dead_letter: int, batch: int) -> None:
        """What the topics say now."""
        self.event = min(event, self._learned_event)
        self.dead_letter = min(dead_letter, self._learned_dead_letter)
        self.batch = max(LEAST_BYTES, min(batch, self._learned_batch))

    def refused(self, topic: str, size: int) -> None:
        """Kafka has found a batch too large in which there was a record with so many bytes of value and key.

        What is larger than a batch was alone in it, so this is known of the record. Else the batch may have been the
        matter: smaller ones will show.
        """
        if size <= self.batch and self.batch > LEAST_BYTES:
            self._learned_batch = max(LEAST_BYTES, self.batch // 2)
        elif topic == self._events_topic:
            self._learned_event = min(self._learned_event, size - 1)
        else:
            self._learned_dead_letter = max(LEAST_BYTES, min(self._learned_dead_letter, size) // 2)
