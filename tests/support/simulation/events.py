"""The partition of the input topic, and what is known of the events in it; an event is known by its offset."""

from typing import Any

from consumer.input.commit_metadata import START_METADATA
from state.violation import SEVERITY_BY_LABEL, Record, Severity
from tests.support.events import encode, event, session_end
from tests.support.simulated_kafka import Input
from tests.support.simulation.world import World

INPUT_TOPIC = "events"


class Events:
    """The records that were produced: ``produced_at`` has the time of the loop for each. ``key_of`` and ``severity_of``
    have those that somebody must be told of; ``last_end`` has when the session of a key was last said to end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.input = Input(INPUT_TOPIC, START_METADATA)
        self.key_of: dict[int, str] = {}
        self.severity_of: dict[int, Severity] = {}
        self.produced_at: list[float] = []
        self.last_end: dict[str, float] = {}

    @property
    def count(self) -> int:
        """How many records there are, which is the offset of the next one."""
        return len(self.input.records)

    def occurs(self, session: str, severity: str) -> None:
        """An event that somebody must be told of is produced."""
        offset = self.count
        self.expect(f"forbidden_path:{session}", SEVERITY_BY_LABEL[severity])
        self.produce(event(session=session, severity=severity, at=self._world.true_time(), event_id=f"e{offset}"))
        self._world.say(f"event {offset}: {session} {severity}")

    def ends(self, session: str) -> None:
        """The end of a session is produced."""
        self._world.say(f"event {self.count}: end of {session}")
        self.note_end(f"forbidden_path:{session}")
        self.produce(session_end(session))

    def expect(self, key: str, severity: Severity) -> None:
        """The next record is an event of this key, of which somebody must be told."""
        self.key_of[self.count], self.severity_of[self.count] = key, severity

    def note_end(self, key: str) -> None:
        """The problem with this key is over now."""
        self.last_end[key] = self._world.loop.time()

    def produce(self, fields: dict[str, Any]) -> None:
        """Append a record with these fields to the topic."""
        records, now = self.input.records, self._world.true_time()
        records.append(Record(INPUT_TOPIC, 0, len(records), int(now * 1000) + 1, b"k", encode(fields)))
        self.produced_at.append(self._world.loop.time())

    def of(self, key: str) -> list[int]:
        """The events of a key."""
        return [offset for offset, its_key in self.key_of.items() if its_key == key]

    def between(self, key: str, first: int, last: int) -> list[int]:
        """The events of a key from one offset to another, both included."""
        return [offset for offset in self.of(key) if first <= offset <= last]
