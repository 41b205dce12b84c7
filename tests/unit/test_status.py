"""``status``: what is seen becomes sentences and an exit code; who answers for a member may be anybody."""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from msgspec.structs import replace as changed
from prometheus_client import CollectorRegistry

from consumer.cli import status as command
from consumer.cli.main import main
from consumer.cli.status_shown import facts_of, sections
from consumer.cli.terminal import show_facts
from consumer.kafka.group_members import DescribedGroup, DescribedMember
from consumer.status import servers as asking
from consumer.status.facts import GroupStatus, Member, Partition, PipelineStatus, RouteSaid, Server, ServiceStatus
from consumer.status.judge import numbers, problems, span
from consumer.status.look import members_of, summed_up
from consumer.status.servers import address_of, answered, ask_servers, is_loopback
from consumer.telemetry.health import PipelineHealth
from consumer.telemetry.server import create_app, serving
from providers.delivery.outage import Condition, RouteTrouble
from state.alert import Alert, Owed, Status
from state.violation import Record, Severity

NOW = 1_800_000_000.0
MEMBERS = (
    Member("clawdstrike-alerting-alerts-0-1-abcd1234", "10.0.0.5", "alerts-0", (0, 1, 2)),
    Member("clawdstrike-alerting-worker-b", "10.0.0.6", None, (3,)),
)
GROUP = GroupStatus(
    "pagerduty",
    "clawdstrike-alerting.pagerduty",
    "clawdstrike.events",
    "Stable",
    MEMBERS,
    tuple(Partition(number, 100, 100, 100, 100) for number in range(4)),
)
WELL = PipelineStatus(
    GROUP,
    None,
    ("default", "by_guard:forbidden_path"),
    {"open": 14, "acknowledged": 3, "resolving": 1},
    {"critical": 0, "high": 0, "medium": 0, "low": 0, "info": 0},
)
READY = Server("10.0.0.5", 8080, pipelines=("pagerduty",))
SILENT = Server("10.0.0.6", 8080, silence="no answer within 2 s")
REFUSED = RouteSaid("pagerduty", "default", "refused", "2027-01-15T07:40:00.000Z", "401 Unauthorized")


def shown(status: ServiceStatus, capsys: pytest.CaptureFixture[str]) -> list[str]:
    for title, facts in sections(status, problems(status, NOW), NOW):
        print(title)
        show_facts(facts)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def owing(pipeline: PipelineStatus, seconds: float) -> PipelineStatus:
    return replace(pipeline, owed={"critical": 2, "high": 1, "medium": 0}, owed_since=NOW - seconds)


# what is shown


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(ServiceStatus([WELL], [READY, SILENT]), capsys) == [
        "pagerduty: 2 members, 4 partitions",
        "  member      alerts-0 (10.0.0.5): partitions 0-2; ready",
        "  member      worker-b (10.0.0.6): partition 3; server on port 8080 not reached: no answer within 2 s",
        "  undecided   0 events",
        "  untold      0 alerts",
        "  alerts      14 open, 3 acknowledged, 1 resolving",
        "  routes      default, by_guard:forbidden_path: nothing wrong (said by 1 of 2 hosts)",
        "all is well",
    ]


def test_what_is_wrong_stands_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    behind = Partition(3, 340, 320, 300, 280, NOW - 200)
    group = replace(GROUP, members=MEMBERS[:1], partitions=(*GROUP.partitions[:3], behind))
    server = replace(READY, routes=(REFUSED,), reasons=("pagerduty: the provider refuses route default",))
    assert shown(ServiceStatus([owing(replace(WELL, group=group), 720)], [server]), capsys) == [
        "pagerduty: 1 member, 4 partitions",
        "  member      alerts-0 (10.0.0.5): partitions 0-2; not ready",
        "  no member   has partition 3",
        "  undecided   40 events, the first for 3m; 20 hidden by an open transaction (the group's lag is 60)",
        "  untold      3 alerts (2 critical, 1 high), the longest for 12m",
        "  alerts      14 open, 3 acknowledged, 1 resolving",
        "  routes      default: refused",
        "  routes      by_guard:forbidden_path: nothing wrong (said by 1 of 1 host)",
        "not well:",
        "   pagerduty: partition 3 of clawdstrike.events: no member has it",
        "   pagerduty: an event has waited to be decided for 3 min",
        "   pagerduty: a page has been owed for 12 min",
        "   10.0.0.5: pagerduty: the provider refuses route default",
    ]


def test_a_stage_is_shown_before_its_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    new = Partition(0, 7, 7)
    stage = GroupStatus("pagerduty-repartition", "g-repartition", "clawdstrike.events", "Empty", (), (new,))
    lines = shown(ServiceStatus([replace(WELL, stage=stage)]), capsys)
    assert lines[:3] == [
        "pagerduty-repartition: 0 members, 1 partition",
        "  no member   has partition 0",
        "  undecided   0 events; partition 0: nothing has begun",
    ]
    assert "  routes      default, by_guard:forbidden_path: condition unknown" in lines
    assert lines[-1] == "   pagerduty-repartition: nobody runs: group g-repartition has no member"


def test_it_fits_80_columns_whatever_members_and_servers_are_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.cli.terminal._width", lambda: 80)
    hostile = "\x1b[2J\x9b31m[red]evil[/red] \u202eexe.\r\n" + "x" * 200
    member = Member(f"clawdstrike-alerting-{hostile}", "10.0.0.5", None, (0, 2))
    route = replace(REFUSED, condition=hostile)
    server = replace(READY, reasons=(hostile,), routes=(route,))
    pipeline = owing(replace(WELL, group=replace(GROUP, members=(member,)), unreadable=(hostile,)), 720)
    lines = shown(ServiceStatus([pipeline], [server]), capsys)
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    text = "".join(line.strip() for line in lines)
    assert text.count("\\x1b[2J\\x9b31m[red]evil[/red]") == 4, "of the member, the route, the state and the server"


def test_programs_get_the_same_as_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    status = ServiceStatus([owing(WELL, 720)], [replace(READY, routes=(REFUSED,), reasons=("why",)), SILENT])
    found = json.loads(json.dumps(facts_of(status, problems(status, NOW))))
    assert (found["well"], found["problems"]) == (
        False,
        ["pagerduty: a page has been owed for 12 min", "10.0.0.5: why"],
    )
    pagerduty = found["pipelines"]["pagerduty"]
    assert pagerduty["members"][0] == {
        "client_id": "clawdstrike-alerting-alerts-0-1-abcd1234",
        "host": "10.0.0.5",
        "instance_id": "alerts-0",
        "partitions": [0, 1, 2],
    }
    assert pagerduty["partitions"][3] == {"partition": 3, "end": 100, "decided": 100, "committed": 100}
    assert pagerduty["stage"] is None
    assert pagerduty["untold"] == {
        "alerts": 3,
        "by_severity": {"critical": 2, "high": 1, "medium": 0},
        "since": "2027-01-15T07:48:00.000Z",
    }
    assert [(one["route"], one["condition"], one["reason"]) for one in pagerduty["routes"]] == [
        ("default", "refused", "401 Unauthorized"),
        ("by_guard:forbidden_path", "nothing wrong", None),
    ]
    assert [(one["host"], one["answers"], one["ready"]) for one in found["servers"]] == [
        ("10.0.0.5", True, False),
        ("10.0.0.6", False, None),
    ]


@pytest.mark.parametrize(("given", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 7), "0-2, 7"), ((5, 3, 4), "3-5")])
def test_partitions_are_said_in_few_words(given: Sequence[int], text: str) -> None:
    assert numbers(given) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (90000, "25 h")])
def test_a_span_is_said_in_one_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text


# whether all is well


def group_problems(**changes: Any) -> list[str]:
    return problems(ServiceStatus([replace(WELL, group=replace(GROUP, **changes))]), NOW)


def test_what_waits_for_less_than_two_minutes_is_no_problem() -> None:
    waits = (Partition(0, 9, 9, 0, 0, NOW - 119), *GROUP.partitions[1:])
    assert group_problems(partitions=waits) == []
    assert problems(ServiceStatus([owing(WELL, 119)]), NOW) == []
    assert problems(ServiceStatus([owing(WELL, 120)]), NOW) == ["pagerduty: a page has been owed for 2 min"]


def test_a_server_that_is_not_reached_is_no_problem() -> None:
    assert problems(ServiceStatus([WELL], [SILENT]), NOW) == []


def test_a_group_without_members_and_one_that_does_not_come_to_rest_are_problems() -> None:
    assert group_problems(state="Empty", members=()) == [
        "pagerduty: nobody runs: group clawdstrike-alerting.pagerduty has no member"
    ]
    nobody = tuple(replace(member, partitions=()) for member in MEMBERS)
    (sentence,) = group_problems(state="PreparingRebalance", members=nobody)
    assert sentence.startswith("pagerduty: a rebalance is under way")


def test_state_that_cannot_be_read_is_a_problem() -> None:
    assert problems(ServiceStatus([replace(WELL, unreadable=("topic s, partition 0",))]), NOW) == [
        "pagerduty: topic s, partition 0"
    ]


# what Kafka says


def test_alerts_are_summed_up_by_status_and_severity() -> None:
    alert = Alert("k", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default")
    record = Record("events", 0, 1, 1000, None, b"{}")
    late = Owed(record, Severity.CRITICAL, 70.0, 1, 1)
    early = Owed(record, Severity.LOW, 60.0, 1, 1)
    alerts = [alert, changed(alert, owed=late), changed(alert, owed=early), changed(alert, status=Status.RESOLVING)]
    found = summed_up(GROUP, None, ["default"], alerts, [])
    assert found.alerts == {"open": 3, "acknowledged": 0, "resolving": 1}
    assert {severity: count for severity, count in found.owed.items() if count} == {"critical": 1, "low": 1}
    assert next(iter(found.owed)) == "critical"
    assert found.owed_since == 60.0
    assert summed_up(GROUP, None, ["default"], [], []).owed_since is None


def test_members_are_named_with_their_partitions_of_this_topic() -> None:
    def member(name: str, client_id: str, assignment: bytes) -> DescribedMember:
        return DescribedMember(f"{name}-{uuid4()}", client_id, b"", "/10.0.0.5", assignment)

    both = ConsumerProtocolMemberAssignment(0, [("clawdstrike.events", [2, 0]), ("other", [1])], b"").encode()
    described = DescribedGroup(
        0,
        "g",
        "Stable",
        "consumer",
        [member("pod-1", "b", both), member("a", "a", b"\xff"), member("c", "c", b"")],
    )
    assert list(members_of(described, "clawdstrike.events")) == [
        Member("a", "10.0.0.5", None, ()),
        Member("b", "10.0.0.5", "pod-1", [0, 2]),
        Member("c", "10.0.0.5", None, ()),
    ]


@pytest.mark.parametrize(
    ("host", "address"),
    [("/10.0.0.5", "10.0.0.5"), ("pod/10.0.0.5", "10.0.0.5"), ("/0:0:0:0:0:0:0:1", "::1"), ("", ""), ("evil.org", "")],
)
def test_only_an_address_is_asked(host: str, address: str) -> None:
    assert address_of(host) == address


@pytest.mark.parametrize(
    ("host", "wanted"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pod", False)]
)
def test_what_listens_on_loopback_is_reached_from_here_only(host: str, wanted: bool) -> None:
    assert is_loopback(host) is wanted


# what servers say


HEALTH = PipelineHealth(
    name="pagerduty",
    joined=True,
    proved=True,
    partitions=1,
    restored=1,
    stuck=(),
    routes=(RouteTrouble("default", Condition.REFUSED, 1_800_000_000.0, "401"),),
    troubles=(),
    loop_age=0.0,
    notes=("a note",),
)


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[int]:
    async with serving(app, "127.0.0.1", 0) as port:
        yield port


async def test_a_member_says_how_it_is() -> None:
    async with listening(create_app(lambda: [HEALTH], CollectorRegistry())) as port:
        (server,) = await ask_servers(["127.0.0.1"], port)
    since = "2027-01-15T08:00:00.000Z"
    assert server == Server(
        "127.0.0.1",
        port,
        pipelines=("pagerduty",),
        reasons=(f"pagerduty: the provider refuses route default since {since}: 401",),
        notes=("a note",),
        routes=(RouteSaid("pagerduty", "default", "refused", since, "401"),),
    )


@pytest.mark.slow
async def test_servers_that_do_not_answer_are_all_waited_for_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.3)

    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/readyz", hang)])
    async with serving(app, "0.0.0.0", 0) as port:
        began = time.monotonic()
        found = await ask_servers([f"127.0.0.{number}" for number in range(1, 31)], port)
        assert time.monotonic() - began < 3, "one after the other it takes nine seconds"
    assert {server.silence for server in found} == {"no answer within 0.3 s"}


async def test_nobody_there_is_said() -> None:
    async with listening(web.Application()) as port:
        pass
    (server,) = await ask_servers(["127.0.0.1"], port)
    assert server.silence == "Connection refused"


async def test_a_stranger_is_neither_followed_nor_read_to_its_end() -> None:
    followed = []

    async def elsewhere(request: web.Request) -> web.Response:
        followed.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b" " * (asking.LONGEST_ANSWER + 1))

    for handler, said in ((elsewhere, "what answers is no member"), (long, "its answer is longer than one of ours")):
        app = web.Application()
        app.add_routes([web.get("/{any:.*}", handler)])
        async with listening(app) as port:
            (server,) = await ask_servers(["127.0.0.1"], port)
        assert server.silence is not None
        assert server.silence.startswith(said)
    assert followed == ["/readyz"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"pipelines": [], "reasons": []}',
        b'{"pipelines": {}, "reasons": "why"}',
        b'{"pipelines": {"p": {}}, "reasons": []}',
        b'{"pipelines": {"p": {"routes": [{}]}, "reasons": []}}',
        b'{"pipelines": {"p": {"routes": [], "notes": 7}}, "reasons": []}',
    ],
)
def test_an_answer_that_is_not_ours_is_a_silence(body: bytes) -> None:
    assert answered("h", 1, body).silence == "what answers is no member of this service"


@pytest.mark.slow
def test_an_answer_is_cut_to_what_somebody_reads() -> None:
    body = json.dumps({"pipelines": {}, "reasons": ["x" * 10_000] * 10_000}).encode()
    server = answered("h", 1, body)
    assert (len(server.reasons), len(server.reasons[0])) == (100, 500)


# the command


def test_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Exit code 0: all is well. 1: a partition has no member; a page is owed, or an event is not" in out
    assert "for 2 minutes" in out


@pytest.mark.parametrize(("status", "code"), [(ServiceStatus([WELL]), 0), (ServiceStatus([owing(WELL, 720)]), 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_exit_code_says_whether_all_is_well(
    status: ServiceStatus, code: int, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def look(*_: Any) -> ServiceStatus:
        return status

    def run(args: Any, topics: Any, act: Any) -> int:
        code: int = asyncio.run(act(None, None, None))
        return code

    monkeypatch.setattr(command, "look", look)
    monkeypatch.setattr(command, "run_with_kafka", run)
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert command.main(argparse.Namespace(json=as_json)) == code
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["well"] is (code == 0)
    else:
        assert out.splitlines()[-1].startswith("all is well" if code == 0 else "   pagerduty: a page has been owed")
