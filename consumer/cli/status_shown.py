"""What ``status`` prints, for people and for programs. Pure: turns a `ServiceStatus` into names and values."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from consumer.cli.terminal import age, counted, moment
from consumer.kafka.clients import CLIENT_ID
from consumer.status.facts import GroupStatus, Member, PipelineStatus, RouteSaid, Server, ServiceStatus
from consumer.status.judge import numbers, waits_since

Fact = tuple[str, str]
"""A name and its value."""

_WIDTH = 10
"""The width of the names, so that the values of all sections are aligned."""


def sections(status: ServiceStatus, wrong: Sequence[str], now: float) -> Iterator[tuple[str, Sequence[Fact]]]:
    """Title and facts of each pipeline and stage. The problems come at the end, where they stay visible on a
    terminal."""
    for pipeline in status.pipelines:
        if pipeline.stage is not None:
            yield _title(pipeline.stage), _padded(_of_group(pipeline.stage, status, now))
        yield (
            _title(pipeline.group),
            _padded(
                [*_of_group(pipeline.group, status, now), *_of_alerts(pipeline, now), *_of_routes(pipeline, status)]
            ),
        )
    yield "all is well" if not wrong else "not well:", _padded([("", sentence) for sentence in wrong])


def facts_of(status: ServiceStatus, wrong: Sequence[str]) -> dict[str, Any]:
    """The status and its problems as JSON values for programs."""
    return {
        "well": not wrong,
        "problems": list(wrong),
        "pipelines": {
            pipeline.name: {
                **_group_facts(pipeline.group),
                "stage": None if pipeline.stage is None else _group_facts(pipeline.stage),
                "alerts": dict(pipeline.alerts),
                "untold": {
                    "alerts": sum(pipeline.owed.values()),
                    "by_severity": dict(pipeline.owed),
                    "since": moment(pipeline.owed_since),
                },
                "routes": _route_facts(pipeline, status),
                "unreadable": list(pipeline.unreadable),
            }
            for pipeline in status.pipelines
        },
        "servers": [
            {
                "host": server.host,
                "port": server.port,
                "answers": server.silence is None,
                "silence": server.silence,
                "ready": None if server.silence is not None else not server.reasons,
                "reasons": list(server.reasons),
                "notes": list(server.notes),
            }
            for server in status.servers
        ],
    }


def _title(group: GroupStatus) -> str:
    return f"{group.name}: {counted(len(group.members), 'member')}, {counted(len(group.partitions), 'partition')}"


def _padded(facts: Iterable[Fact]) -> list[Fact]:
    return [(f"  {name:<{_WIDTH}}" if name else " ", value) for name, value in facts]


# who runs, and what waits to be decided


def _of_group(group: GroupStatus, status: ServiceStatus, now: float) -> Iterator[Fact]:
    for member in group.members:
        yield "member", _member(member, status)
    if group.unowned:
        yield "no member", f"has {_partitions(group.unowned)}"
    yield "undecided", _undecided(group, now)


def _member(member: Member, status: ServiceStatus) -> str:
    name = member.client_id.removeprefix(f"{CLIENT_ID}-")
    if member.instance_id is not None:
        name = member.instance_id
    server = status.server_of(member.host)
    has = _partitions(member.partitions) if member.partitions else "no partition"
    return f"{name} ({member.host or 'address unknown'}): {has}; {_server(server)}"


def _partitions(partitions: Sequence[int]) -> str:
    return f"partition{'s' * (len(partitions) != 1)} {numbers(partitions)}"


def _server(server: Server | None) -> str:
    if server is None:
        return "server not asked"
    if server.silence is not None:
        return f"server on port {server.port} not reached: {server.silence}"
    return "not ready" if server.reasons else "ready"


def _undecided(group: GroupStatus, now: float) -> str:
    total = sum(partition.undecided for partition in group.partitions)
    said = counted(total, "event")
    if (since := waits_since(group)) is not None:
        said += f", the first for {age(now - since)}"
    if hidden := sum(partition.hidden for partition in group.partitions):
        said += f"; {hidden:,} hidden by an open transaction"
    if new := [partition.number for partition in group.partitions if partition.decided is None]:
        said += f"; {_partitions(new)}: nothing has begun"
    lag = sum(partition.lag for partition in group.partitions)
    return f"{said} (the group's lag is {lag:,})" if lag != total else said


# what people have, and have not, been told


def _of_alerts(pipeline: PipelineStatus, now: float) -> Iterator[Fact]:
    owed = sum(pipeline.owed.values())
    said = counted(owed, "alert")
    if owed:
        said += f" ({', '.join(f'{count:,} {severity}' for severity, count in pipeline.owed.items() if count)})"
    if pipeline.owed_since is not None:
        said += f", the longest for {age(now - pipeline.owed_since)}"
    yield "untold", said
    yield "alerts", ", ".join(f"{count:,} {status}" for status, count in pipeline.alerts.items())


# routes


def _of_routes(pipeline: PipelineStatus, status: ServiceStatus) -> Iterator[Fact]:
    worst = _worst(pipeline, status)
    by_condition: dict[str, list[str]] = defaultdict(list)
    for route in pipeline.routes:
        by_condition[worst[route].condition if route in worst else "nothing wrong"].append(route)
    asked = _asked(pipeline, status)
    for condition, routes in by_condition.items():
        said = condition
        if condition == "nothing wrong":
            said = "condition unknown" if not asked else f"nothing wrong (said by {_heard(pipeline, asked)})"
        yield "routes", f"{', '.join(routes)}: {said}"


def _heard(pipeline: PipelineStatus, asked: int) -> str:
    return f"{asked} of {counted(len({member.host for member in pipeline.group.members}), 'host')}"


def _asked(pipeline: PipelineStatus, status: ServiceStatus) -> int:
    """How many servers have answered for this pipeline, and so for its routes."""
    return sum(pipeline.name in server.pipelines for server in status.servers)


def _worst(pipeline: PipelineStatus, status: ServiceStatus) -> Mapping[str, RouteSaid]:
    """The worst trouble with each route that any member reports: refused, then failing, then throttled."""
    order = {condition: place for place, condition in enumerate(("refused", "failing", "throttled"))}
    said = [one for server in status.servers for one in server.routes if one.pipeline == pipeline.name]
    worst: dict[str, RouteSaid] = {}
    for one in sorted(said, key=lambda one: (order.get(one.condition, len(order)), one.since)):
        worst.setdefault(one.route, one)
    return worst


def _route_facts(pipeline: PipelineStatus, status: ServiceStatus) -> list[dict[str, Any]]:
    worst, is_known = _worst(pipeline, status), _asked(pipeline, status) > 0
    facts = []
    for route in pipeline.routes:
        said = worst.get(route)
        condition = said.condition if said is not None else "nothing wrong" if is_known else None
        facts.append(
            {
                "route": route,
                "condition": condition,
                "since": said.since if said is not None else None,
                "reason": said.reason if said is not None else None,
            }
        )
    return facts


def _group_facts(group: GroupStatus) -> dict[str, Any]:
    return {
        "group": group.group_id,
        "topic": group.topic,
        "state": group.state,
        "members": [
            {
                "client_id": member.client_id,
                "host": member.host or None,
                "instance_id": member.instance_id,
                "partitions": list(member.partitions),
            }
            for member in group.members
        ],
        "without_member": list(group.unowned),
        "partitions": [
            {"partition": one.number, "end": one.end, "decided": one.decided, "committed": one.committed}
            for one in group.partitions
        ],
        "lag": sum(partition.lag for partition in group.partitions),
        "undecided": {
            "events": sum(partition.undecided for partition in group.partitions),
            "hidden": sum(partition.hidden for partition in group.partitions),
            "since": moment(waits_since(group)),
            "not_begun": [partition.number for partition in group.partitions if partition.decided is None],
        },
    }
