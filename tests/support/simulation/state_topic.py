"""What the state topic has of an alert, made comparable with what the task has."""

from msgspec import structs

from state.alert import Alert, Status
from state.records import CHECKPOINT_KEY, decode_alert
from tests.support.simulation.member import Member


class StateTopic:
    """What was committed of the alerts."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def written(self) -> dict[str, Alert]:
        """The alerts by dedup key."""
        return {
            key.decode(): decode_alert(key, value)
            for key, value in self._member.kafka.state.items()
            if value is not None and key != CHECKPOINT_KEY
        }

    def holds(self, alert: Alert) -> bool:
        """Whether the alert is there (`held`), whatever its times are."""
        return timeless(alert) in self.held(alert.dedup_key)

    def held(self, key: str) -> tuple[Alert, ...]:
        """What there is of a key: as it was written, and as an owner with the keys of today reads it; without times."""
        written = self.written().get(key)
        if written is None:
            return ()
        pipeline = self._member.pipeline
        taken = pipeline.placed(pipeline.possibly_told(written))
        return timeless(written), timeless(pipeline.placed(written)), timeless(taken)


def timeless(alert: Alert) -> Alert:
    """The alert without the times that a new owner may take for others, if they lie in its future; and without what is
    silenced of it while it is resolved, which is another matter."""
    told, owed = alert.last_notified, alert.owed
    if alert.status is Status.RESOLVING:
        alert = structs.replace(alert, held=None, key=None)
    elif alert.held is not None:
        held = structs.replace(alert.held, first_seen=0.0, last_seen=0.0, decided=0.0)
        alert = structs.replace(alert, held=held)
    return structs.replace(
        alert,
        first_seen=0.0,
        last_seen=0.0,
        decided=0.0,
        last_notified=structs.replace(told, at=0.0) if told is not None else None,
        former=(*alert.former, *alert.orphans),
        orphans=(),
        owed=structs.replace(owed, since=0.0) if owed is not None else None,
    )
