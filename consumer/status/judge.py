"""Judges from a `ServiceStatus` whether all is well. Pure; the time is an argument."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from consumer.status.facts import GroupStatus, PipelineStatus, ServiceStatus

WAITS_SECONDS = 120.0
"""A page, or an event, that has waited for this long is a problem; Prometheus' rule PagesWait uses the same time."""


def problems(status: ServiceStatus, now: float) -> list[str]:
    """A sentence for each problem that somebody should look at; empty if all is well.

    A server that cannot be reached is no problem, since a network may forbid it. A reason that a server gives is one.
    """
    return [
        *(sentence for group in status.groups for sentence in _of_group(group, now)),
        *(sentence for pipeline in status.pipelines for sentence in _of_pipeline(pipeline, now)),
        *(f"{server.host}: {reason}" for server in status.servers for reason in server.reasons),
    ]


def numbers(partitions: Sequence[int]) -> str:
    """The numbers as a short text, with ranges: ``0-5, 7``."""
    runs = []
    for _, run in groupby(enumerate(sorted(partitions)), lambda place: place[1] - place[0]):
        found = [number for _, number in run]
        runs.append(f"{found[0]}-{found[-1]}" if len(found) > 1 else f"{found[0]}")
    return ", ".join(runs)


def waits_since(group: GroupStatus) -> float | None:
    """The timestamp of the record that has waited for the longest to be decided, None if it is not known."""
    return min((one.waits_since for one in group.partitions if one.waits_since is not None), default=None)


def span(seconds: float) -> str:
    """How long something has lasted, in words: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _of_group(group: GroupStatus, now: float) -> Iterator[str]:
    if not group.members:
        yield f"{group.name}: nobody runs: group {group.group_id} has no member"
    elif group.state != "Stable":
        yield f"{group.name}: a rebalance is under way, and has not ended while it was waited for ({group.state})"
    elif unowned := group.unowned:
        yield f"{group.name}: partition{'s' * (len(unowned) > 1)} {numbers(unowned)} of {group.topic}: no member has it"
    since = waits_since(group)
    if since is not None and now - since >= WAITS_SECONDS:
        yield f"{group.name}: an event has waited to be decided for {span(now - since)}"


def _of_pipeline(pipeline: PipelineStatus, now: float) -> Iterator[str]:
    if pipeline.owed_since is not None and now - pipeline.owed_since >= WAITS_SECONDS:
        yield f"{pipeline.name}: a page has been owed for {span(now - pipeline.owed_since)}"
    for sentence in pipeline.unreadable:
        yield f"{pipeline.name}: {sentence}"
