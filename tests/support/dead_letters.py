"""Dead letters as they are written, for tests that only want some."""

import json

from consumer.dlq.dead_letter import DeadLetter
from state.violation import Record
from tests.support.events import event


def letter(topic: str = "events", partition: int = 0, provider: str = "pagerduty") -> DeadLetter:
    """That of an event that its provider has rejected; the event stands in this partition, at offset 0."""
    return DeadLetter(
        record=Record(topic, partition, 0, 1000, None, json.dumps(event(event_id="e")).encode()),
        provider=provider,
        stage="deliver",
        event_id="e",
        error_class="rejected_503",
        error="down",
        retryable=True,
        attempts=1,
        first_attempt=1.0,
        last_attempt=1.0,
        occurrences=1,
        first_offset=0,
        last_offset=0,
    )
