"""What a change of the configuration means for the alerts of a partition that are restored (design section 18)."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from structlog.typing import FilteringBoundLogger

from consumer.pipeline import Pipeline
from providers.belonging import CHANGED, Standing
from state.alert import Alert
from state.store import Store

_TOLD_ONE_BY_ONE: Final = 100
"""Alerts whose key is gone, of which each has a line; of more there is only their number."""


class Placing:
    """Gives each restored alert the integration that it has today, and remembers what there is to be said of that."""

    def __init__(self, pipeline: Pipeline, log: FilteringBoundLogger) -> None:
        self._pipeline = pipeline
        self._log = log
        self._standings: Counter[Standing] = Counter()
        self._moved: list[str] = []

    def place(self, written: Alert) -> Alert:
        """An alert, as it was written down, as it is today."""
        standing, alert = self._pipeline.integrations.standing(written), self._pipeline.placed(written)
        if alert is written and standing is Standing.THE_SAME:
            return alert
        self._standings[standing] += 1
        is_by_name = written.integration is None and not written.former
        if alert.owed is not None and alert.integration != written.integration and not is_by_name:
            self._moved.append(alert.dedup_key)
        if alert.orphans and self._standings[Standing.ORPHANED] + self._standings[Standing.OWED] <= _TOLD_ONE_BY_ONE:
            integrations = [str(one) for one in alert.orphans]
            self._log.warning("alert_orphaned", dedup_key=alert.dedup_key, integrations=integrations)
        return alert

    def moved_in(self, store: Store) -> Iterator[None]:
        """What is owed by alerts that go to another integration leaves once the state says where it goes; it is seen to
        by going through what is returned."""
        while self._moved:
            store.write_first(self._moved.pop())
            yield

    def tell(self) -> None:
        """Say how many alerts the change of the configuration concerns, if any."""
        counts = {standing.value: self._standings[standing] for standing in CHANGED}
        if any(counts.values()):
            self._log.warning("integrations_changed", **counts)
