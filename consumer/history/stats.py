"""What the history says of the policies: how many alerts, how many pages, and how many of these nobody needed.

Steps are taken in their order, one at a time, and what is kept of them is bounded. Pure: all times are those of steps.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import Any, Final

from consumer.history.step import Reason, Step, StepKind
from consumer.history.steps import EARLY_SECONDS

DIMENSIONS: Final = ("guard", "tenant", "ruleset", "severity", "route")
"""The facts of an alert by which figures can be grouped."""

DAY_SECONDS: Final = 86_400.0
"""A problem that is over and triggers again within so many seconds counts as come back."""

MOST_LIVES: Final = 200_000
"""How many open lives, and how many ends of the last day, are remembered. Beyond that, the oldest is let go: a life
counts as it is then."""

MOST_GROUPS: Final = 10_000
"""How many groups are counted separately; what belongs to further ones is counted together, as `OTHERS`."""

OTHERS: Final = "(others)"

_RATIO: Final = 1.05
"""By which factor one bucket of a `Spans` is longer than the one before. No quantile is further off."""

_LEAST: Final = 0.001
_PEOPLE: Final = ("operator", "provider")
_BY_ITSELF: Final = ("quiet", "session_end", "rule")


class Spans:
    """Spans of time, of which quantiles are asked: by buckets, so that what is kept does not grow."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0

    def add(self, seconds: float) -> None:
        """One more. A negative one (a clock was put back) counts as none at all."""
        self._buckets[round(log(max(_LEAST, seconds) / _LEAST) / log(_RATIO))] += 1
        self._count += 1

    def quantile(self, share: float) -> float | None:
        """The span in seconds that this share of them (0 to 1) does not exceed; None without any."""
        left = share * self._count
        for bucket, count in sorted(self._buckets.items()):
            left -= count
            if left <= 1e-9:
                return round(_LEAST * exp(bucket * log(_RATIO)), 3)
        return None


@dataclass(slots=True)
class Figures:
    """The figures of one group.

    ``alerts`` have begun, ``occurrences`` are the events of these and of older ones, ``pages`` what the provider has
    accepted. ``ended`` says by whom, by the word before the colon of the actor. ``early`` were ended by people within
    `EARLY_SECONDS` of being told. ``came_back`` began within `DAY_SECONDS` of their end before. ``buried`` became dead
    letters. ``noise`` is the noise score (`noise_of`).
    """

    alerts: int = 0
    occurrences: int = 0
    suppressed: int = 0
    told: int = 0
    pages: int = 0
    acknowledged: int = 0
    came_back: int = 0
    early: int = 0
    buried: int = 0
    silenced: int = 0
    noise: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    to_told: Spans = field(default_factory=Spans)
    to_acknowledge: Spans = field(default_factory=Spans)
    to_resolve: Spans = field(default_factory=Spans)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values; spans are in seconds."""
        return {
            "alerts": self.alerts,
            "occurrences": self.occurrences,
            "suppressed": self.suppressed,
            "pages": self.pages,
            "suppressed_per_page": round(self.suppressed / self.pages, 2) if self.pages else None,
            "told": self.told,
            "time_to_told_p50": self.to_told.quantile(0.5),
            "time_to_told_p99": self.to_told.quantile(0.99),
            "acknowledged": self.acknowledged,
            "time_to_acknowledge_p50": self.to_acknowledge.quantile(0.5),
            "time_to_resolve_p50": self.to_resolve.quantile(0.5),
            "ended_by": dict(sorted(self.ended.items())),
            "ended_early": self.early,
            "came_back": self.came_back,
            "silenced": self.silenced,
            "dead_lettered": self.buried,
            "noise": round(self.noise, 1),
        }


@dataclass(slots=True)
class Life:
    """What is known of one life of an alert while it is open. ``is_whole``: its beginning was among the steps."""

    first: Step
    is_whole: bool
    is_back: bool = False
    severity: str = ""
    route: str | None = None
    told_at: float | None = None
    acknowledged_at: float | None = None
    ended: Step | None = None
    occurrences: int = 0
    suppressed: int = 0
    pages: int = 0
    buried: int = 0
    is_silenced: bool = False

    @property
    def is_early(self) -> bool:
        """Whether people ended it soon after it was told."""
        ended = self.ended
        return (
            ended is not None
            and self.told_at is not None
            and _word(ended.actor) in _PEOPLE
            and ended.at - self.told_at <= EARLY_SECONDS
        )


def noise_of(life: Life) -> float:
    """The noise of one life, in pages that probably nobody needed. The noise score of a guard or a tenant is the sum of
    those of its lives, so the highest score is where to look first:

        noise = pages x min(1, 1 x (people ended it within five minutes of being told)
                             + 0.5 x (it ended by itself, and nobody had acknowledged it)
                             + 0.5 x (the same problem had been over less than a day before))

    "By itself" is by quiet, by the end of its session, or by a rule. A life that was not told, or is not over, has no
    noise.
    """
    ended = life.ended
    if ended is None or not life.pages:
        return 0.0
    by_itself = _word(ended.actor) in _BY_ITSELF and life.acknowledged_at is None
    return life.pages * min(1.0, 1.0 * life.is_early + 0.5 * by_itself + 0.5 * life.is_back)


class Stats:
    """The figures of steps by these dimensions (of `DIMENSIONS`), in the order of what has come."""

    def __init__(self, by: Sequence[str] = ()) -> None:
        self._by = by
        self._lives: OrderedDict[tuple[str, str], Life] = OrderedDict()
        self._ends: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._groups: dict[tuple[str, ...], Figures] = {}
        self.total = Figures()
        self.steps = 0
        self.providers: set[str] = set()

    def take(self, step: Step) -> None:
        """Take the next step. The steps of one dedup key come in their order."""
        self.steps += 1
        self.providers.add(step.provider)
        key = step.provider, step.dedup_key
        if step.kind in (StepKind.TRIGGERED, StepKind.SILENCED) and (
            step.is_first or step.reason == Reason.REOPENED or self._is_another(key, step)
        ):
            self._begin(key, step)
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = Life(step, is_whole=False)
        _count(life, step)
        if step.kind in (StepKind.FORGOTTEN, StepKind.ORPHANED):
            self._close(key)
        elif step.kind is StepKind.RESOLVED:
            self._ends[key] = step.at
            self._ends.move_to_end(key)
        while len(self._lives) > MOST_LIVES:
            self._close(next(iter(self._lives)))
        while self._ends and (len(self._ends) > MOST_LIVES or step.at - next(iter(self._ends.values())) > DAY_SECONDS):
            self._ends.popitem(last=False)

    def groups(self) -> Iterator[tuple[Mapping[str, str], Figures]]:
        """Close what is open; then the figures of each group, the noisiest first."""
        while self._lives:
            self._close(next(iter(self._lives)))
        order = sorted(self._groups.items(), key=lambda item: (-item[1].noise, -item[1].pages, item[0]))
        for values, figures in order:
            yield dict(zip(self._by, values, strict=True)), figures

    def _is_another(self, key: tuple[str, str], step: Step) -> bool:
        life = self._lives.get(key)
        return life is not None and life.first.life != step.life

    def _begin(self, key: tuple[str, str], step: Step) -> None:
        if key in self._lives:
            self._close(key)
        ended_at = self._ends.pop(key, None)
        is_back = ended_at is not None and step.at - ended_at <= DAY_SECONDS
        self._lives[key] = Life(step, is_whole=True, is_back=is_back)

    def _close(self, key: tuple[str, str]) -> None:
        life = self._lives.pop(key)
        for figures in (self.total, self._figures(life)):
            _add(figures, life)

    def _figures(self, life: Life) -> Figures:
        values = tuple(_value(life, dimension) for dimension in self._by)
        if values not in self._groups and len(self._groups) >= MOST_GROUPS:
            values = (OTHERS,) * len(self._by)
        return self._groups.setdefault(values, Figures())


def _count(life: Life, step: Step) -> None:
    without_event = step.reason in (Reason.CLOSED_AT_PROVIDER, Reason.SILENCE_ENDED)
    is_event = step.kind in (StepKind.TRIGGERED, StepKind.SILENCED) and not without_event
    life.occurrences += step.suppressed + is_event
    life.suppressed += step.suppressed
    life.severity, life.route = step.severity, step.route or life.route
    match step.kind:
        case StepKind.TOLD | StepKind.RAISED | StepKind.TOLD_AGAIN:
            life.pages += 1
            if life.told_at is None:
                life.told_at = step.at
        case StepKind.ACKNOWLEDGED:
            if life.acknowledged_at is None:
                life.acknowledged_at = step.at
        case StepKind.RESOLVED:
            life.ended = step
        case StepKind.DEAD_LETTERED | StepKind.GIVEN_UP:
            life.buried += 1
        case StepKind.SILENCED:
            life.is_silenced = True
        case _:
            pass


def _add(figures: Figures, life: Life) -> None:
    figures.occurrences += life.occurrences
    figures.suppressed += life.suppressed
    figures.pages += life.pages
    figures.buried += life.buried
    figures.silenced += life.is_silenced
    figures.early += life.is_early
    figures.acknowledged += life.acknowledged_at is not None
    figures.told += life.told_at is not None
    figures.noise += noise_of(life)
    if life.ended is not None:
        figures.ended[_word(life.ended.actor)] += 1
    if life.acknowledged_at is not None and life.told_at is not None:
        figures.to_acknowledge.add(life.acknowledged_at - life.told_at)
    if not life.is_whole:
        return
    figures.alerts += 1
    figures.came_back += life.is_back
    if life.told_at is not None and not life.is_silenced:  # else the silence was waited for
        figures.to_told.add(life.told_at - life.first.at)
    if life.ended is not None:
        figures.to_resolve.add(life.ended.at - life.first.at)


def _value(life: Life, dimension: str) -> str:
    match dimension:
        case "severity":
            return life.severity
        case "route":
            return life.route or ""
        case _:
            return getattr(life.first, dimension) or ""


def _word(actor: str | None) -> str:
    return (actor or "").split(":")[0]
