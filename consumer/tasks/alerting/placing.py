"""Assigning restored alerts to the integrations that are configured now (design section 18)."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from structlog.typing import FilteringBoundLogger

from consumer.deciding.pipeline import Pipeline
from providers.belonging import CHANGED, Standing
from state.alert import Alert
from state.store import Store

_TOLD_ONE_BY_ONE: Final = 100
"""At most so many alerts whose integration key is gone are logged one by one; of more only the number is."""


class Placing:
    """Gives each restored alert its integration by the configuration of today, and counts what has changed."""

    def __init__(self, pipeline: Pipeline, log: FilteringBoundLogger) -> None:
        self._pipeline = pipeline
        self._log = log
        self._standings: Counter[Standing] = Counter()
        self._moved: list[str] = []

    def place(self, written: Alert) -> Alert:
        """The alert with its integration of today; ``written`` is the alert as the state holds it."""
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
        """Have the triggers of alerts that go to another integration sent only after a checkpoint holds that; done step
        by step."""
        while self._moved:
            store.write_first(self._moved.pop())
            yield

    def tell(self) -> None:
        """Log how many alerts the change of the configuration concerns, if any."""
        counts = {standing.value: self._standings[standing] for standing in CHANGED}
        if any(counts.values()):
            self._log.warning("integrations_changed", **counts)
