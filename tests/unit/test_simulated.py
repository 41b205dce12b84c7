"""What is simulated is what is told: the real task, outbox and delivery beside `Simulated`, on random traffic."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from consumer.tuning.simulated import Said, Saying, Simulated
from providers.notification import Trigger
from tests.support.simulation import EPOCH, QUIET, RENOTIFY, TIMEOUT, Simulation
from tests.support.walks import SAYS
from tests.support.wire import OnTheWire

Heard = tuple[str, float]
"""What the provider was told, and when."""

UNSURE = 3.5
"""Seconds around the end of a quiet within which either may come about: a tick, the span that the store keeps moments
to, and the checkpoint."""


class Watched(Simulation):
    """One partition of the real service, in virtual time, whose provider accepts at once."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, list[Heard]] = defaultdict(list)

    def _land(self, request: OnTheWire | None) -> None:
        if request is not None and not request.landed:
            self.heard[request.key].append((_what(request), self.now))
        super()._land(request)

    @property
    def now(self) -> float:
        return self._true_time()

    def settle(self) -> None:
        """All that may leave has left, and is answered and committed."""
        for _ in range(3):
            while self.on_the_wire:
                self.step("answer", 0)
            self.step("commit", 0)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step("tick", 0)
            self.settle()

    def traffic(self, steps: list[tuple[int, int]]) -> None:
        last: dict[str, float] = {}
        for kind, gap in steps:
            self.pass_time(gap)
            session, _ = SAYS[kind % len(SAYS)]
            key = f"forbidden_path:{session}"
            told = [at for what, at in self.heard[key] if what != "resolve"]
            while abs(self.now - last.get(key, 0.0) - QUIET) < UNSURE or any(
                abs(self.now - at - limit) < 1.5 for at in told for limit in (RENOTIFY, TIMEOUT)
            ):
                self.pass_time(1)
            if kind >= 2 * len(SAYS):
                self.step("end", 0 if session == "s2" else 1)
            if kind < len(SAYS) or kind >= 3 * len(SAYS):
                self.step("event", kind % len(SAYS))
                last[key] = self.now
            self.step("decide", 4)
            self.settle()
            if kind >= 2 * len(SAYS):
                self.pass_time(1)  # until the resolve is committed either may come about
        self.pass_time(QUIET + 10)

    def simulated(self) -> dict[str, list[Heard]]:
        """The same by the simulation, of the records that there were."""
        heard: dict[str, list[Heard]] = defaultdict(list)

        def said(it: Said) -> None:
            what = "resolve" if it.what is Saying.RESOLVE else f"{it.what.value} {it.owed.severity.label}"  # type: ignore[union-attr]
            heard[it.alert.dedup_key].append((what, it.at))

        simulated = Simulated(self._make_pipeline(), said)
        for record in self._input.records:
            simulated.decide(record, record.timestamp / 1000)
        simulated.finish(self.now)
        return heard


def _what(request: OnTheWire) -> str:
    trigger = request.dispatch.notification
    if not isinstance(trigger, Trigger):
        return "resolve"
    what = "raised" if trigger.raised else "again" if trigger.again else "page"
    return f"{what} {trigger.severity.label}"


@given(
    st.lists(
        st.tuples(st.integers(0, 4 * len(SAYS) - 1), st.sampled_from([0, 1, 2, 5, 9, 11, 14, 25, 40, 58, 70])),
        max_size=14,
    )
)
def test_what_is_simulated_is_what_the_service_tells(steps: list[tuple[int, int]]) -> None:
    """An event, the end of a session, or both at once, by turns for two keys, with gaps about all of the limits."""
    service = Watched()
    try:
        service.traffic(steps)
        simulated = service.simulated()
        for key in {*service.heard, *simulated}:
            real, ours = service.heard[key], simulated[key]
            assert [what for what, _ in ours] == [what for what, _ in real], (key, real, ours, service.trace)
            for (what, here), (_, there) in zip(ours, real, strict=True):
                assert abs(here - there) <= UNSURE, (key, what, here - EPOCH, there - EPOCH)
    finally:
        service.close()
