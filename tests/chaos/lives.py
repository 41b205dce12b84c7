"""The lives of the alert of a dedup key, as the state topic tells them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from state.alert import Alert


@dataclass(slots=True)
class Life:
    """One alert from its first record in the state topic to its tombstone, or to now."""

    records: list[Alert] = field(default_factory=list)
    is_over: bool = False

    @property
    def was_told(self) -> bool:
        return any(alert.last_notified is not None for alert in self.records)


def lives(history: Sequence[Alert | None]) -> list[Life]:
    """The lives of a dedup key. Without a tombstone between them, a new one is known by its beginning."""
    found: list[Life] = []
    for alert in history:
        if alert is None:
            if found:
                found[-1].is_over = True
            continue
        if not found or found[-1].is_over or _is_new(found[-1].records[-1], alert):
            if found:
                found[-1].is_over = True
            found.append(Life())
        found[-1].records.append(alert)
    return found


def _is_new(before: Alert, after: Alert) -> bool:
    return after.first_seen > before.first_seen or after.occurrences < before.occurrences


def joined(
    by_partition: Mapping[int, Sequence[Alert | None]],
    handed_over: Collection[tuple[int, float]],
    last_to: int | None = None,
) -> list[Alert | None]:
    """What several state partitions say of one dedup key, as if one task had written it.

    A key has another home when topics grow. The old home's last word then is a tombstone that ends nothing: the life
    goes on elsewhere, with all that it had counted. ``handed_over`` has the partition and the beginning (`first_seen`)
    of each life that was, ``last_to`` the partition to which it was handed over last. To that it may have come back (a
    task that has yet to find out how producers choose partitions may think that another is its home): what ends there
    last has ended.
    """
    found = []
    for partition, history in by_partition.items():
        own = lives(history)
        for number, life in enumerate(own, 1):
            is_back = partition == last_to and number == len(own)
            if is_back or not (life.is_over and (partition, life.records[-1].first_seen) in handed_over):
                found.append((partition, life))
    found.sort(key=lambda one: (not one[1].is_over, one[1].records[0].first_seen))
    told: list[Alert | None] = []
    for _, life in found:
        told += [*life.records, None] if life.is_over else life.records
    return told
