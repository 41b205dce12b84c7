"""Whether the service is alive, is ready, and may send its heartbeat (design section 9). Pure: values in, reasons
out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from providers.delivery.outage import Condition, RouteTrouble
from providers.timestamps import utc

STALLED_SECONDS = 120.0
"""The fetching loop of a member that is in its group is stuck if it has not turned for this long."""

STANDSTILL_SECONDS = 300.0
"""After this long without a proof although Kafka answers, a restart is worth the rebalance that it causes."""

_NOT_STARTED = "no pipeline has started yet"
_NOT_JOINED = "not in its consumer group"
_NOTHING_GETS_THROUGH = {Condition.REFUSED: "refuses", Condition.FAILING: "takes nothing through"}


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """How one pipeline of this member is now.

    ``joined``: the member is in its group. ``proved``: a proof was accepted recently enough to send (a member without
    partitions needs none). ``partitions``: how many are assigned to it; ``restored``: how many of these decide.
    ``stuck``: a sentence for each partition of the whole group that makes no progress. ``routes``: the routes in
    trouble. ``troubles``: a sentence for each partition of this member that is in trouble. ``loop_age``: seconds since
    the fetching loop turned, 0 while the member waits for its group. ``standstill``: seconds for which Kafka has
    answered while the member had partitions but no proof, and neither a rebalance nor a restore was under way.
    ``outgrown``: a sentence for each topic that has not as many partitions as its input; ``unfit``: a sentence for each
    other problem with the topics. ``notes``: what somebody should know although pages get through.
    """

    name: str
    joined: bool
    proved: bool
    partitions: int
    restored: int
    stuck: tuple[str, ...]
    routes: tuple[RouteTrouble, ...]
    troubles: tuple[str, ...]
    loop_age: float
    standstill: float = 0.0
    outgrown: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def liveness(pipelines: Sequence[PipelineHealth], stalled_after: float = STALLED_SECONDS) -> list[str]:
    """Why the process should be restarted; empty if it is alive.

    The reasons are only those that a restart can remove. An outage of Kafka is none: restarts would prolong it.
    """
    return _all(pipelines, lambda pipeline: _not_alive(pipeline, stalled_after))


def readiness(pipelines: Sequence[PipelineHealth]) -> list[str]:
    """Why alerts do not get through as they should; empty if they do.

    A partition that is stuck is no reason: it may be another member's.
    """
    return _all(pipelines, _not_ready)


def takes_traffic(pipelines: Sequence[PipelineHealth]) -> list[str]:
    """Why the process should get no requests, and a rolling update should wait; empty if neither is so.

    The only reason is that no pipeline has started yet. Trouble with Kafka, a provider or a partition is the same for
    every member: another pod in place of this one would page nobody sooner.
    """
    return _all(pipelines, lambda pipeline: iter(()))


def heartbeat_reason(pipelines: Sequence[PipelineHealth], stalled_after: float = STALLED_SECONDS) -> str | None:
    """Why the heartbeat must not be sent for the group; None if all is well."""
    reasons = _all(pipelines, lambda pipeline: _not_well(pipeline, stalled_after))
    return "; ".join(reasons) or None


def _all(pipelines: Sequence[PipelineHealth], ask: Callable[[PipelineHealth], Iterator[str]]) -> list[str]:
    if not pipelines:
        return [_NOT_STARTED]
    return [f"{pipeline.name}: {reason}" for pipeline in pipelines for reason in ask(pipeline)]


def _not_alive(pipeline: PipelineHealth, stalled_after: float) -> Iterator[str]:
    if pipeline.loop_age > stalled_after:
        yield _stalled(pipeline)
    if pipeline.standstill >= STANDSTILL_SECONDS:
        yield f"it has had no proof of ownership for {pipeline.standstill:.0f} s although Kafka answers"


def _not_ready(pipeline: PipelineHealth) -> Iterator[str]:
    if not pipeline.joined:
        yield _NOT_JOINED
    elif pipeline.partitions and not pipeline.proved:
        yield "no recent proof of ownership: the group's coordinator does not answer"
    if pipeline.restored < pipeline.partitions:
        yield f"{pipeline.restored} of {pipeline.partitions} partitions are restored"
    for route in pipeline.routes:
        if (what := _NOTHING_GETS_THROUGH.get(route.condition)) is not None:
            yield f"the provider {what} route {route.route} since {utc(route.since)}: {route.reason}"
    yield from pipeline.troubles
    yield from pipeline.outgrown
    yield from pipeline.unfit


def _not_well(pipeline: PipelineHealth, stalled_after: float) -> Iterator[str]:
    yield from _not_ready(pipeline)
    if pipeline.loop_age > stalled_after:
        yield _stalled(pipeline)
    yield from pipeline.stuck


def _stalled(pipeline: PipelineHealth) -> str:
    return f"its loop has not turned for {pipeline.loop_age:.0f} s"
