"""What stays strikes whom it shall and nobody else, and the account is told the same."""

import contextlib
import random
from itertools import combinations, islice
from types import SimpleNamespace

import pytest

from consumer.group.ends import LOOK_SECONDS
from consumer.input.progress import FRESH_SECONDS, OPEN_SHARE
from providers.sandbox import Call, Fault, FaultyAnswer, Hang, Sandbox
from tests.chaos.faults import Scene
from tests.chaos.happened import Happened
from tests.chaos.lasting import LASTING, SHORT_TRANSACTION_SECONDS, refused
from tests.chaos.setting import QUIET_SECONDS
from tests.chaos.traffic import Traffic

SESSIONS = 400


def scene(sandbox: Sandbox, prefix: str = "p1-") -> Scene:
    members = SimpleNamespace(trouble=[], running=[])
    setting, traffic, reader = SimpleNamespace(sandbox=sandbox), Traffic("", ""), SimpleNamespace(partitions=1)
    return Scene(setting, members, 3, random.Random(1), traffic, reader, prefix, Happened())  # type: ignore[arg-type]


def call(provider: str, dedup_key: str, action: str) -> Call:
    return Call(method="POST", path="/", provider=provider, action=action, dedup_key=dedup_key)


def struck(sandbox: Sandbox, session: str, action: str = "trigger") -> bool:
    """Whether a request of either provider about an alert of this session meets a fault: of both or of neither."""
    other = {"trigger": "create", "resolve": "close", "acknowledge": "acknowledge"}[action]
    found = {
        sandbox.faults.strike(call("pagerduty", f"shell_command:{session}", action)) is not None,
        sandbox.faults.strike(call("opsgenie", f"clawdstrike-shell_command-{session}", other)) is not None,
    }
    [answer] = found
    return answer


@pytest.mark.parametrize(("status", "effect"), [(503, FaultyAnswer), (None, Hang)])
async def test_one_alert_in_twenty_is_refused_and_the_account_knows_which(
    status: int | None, effect: type[object]
) -> None:
    sandbox = Sandbox()
    where = scene(sandbox)
    async with refused(status, 3)(where):
        found = sandbox.faults.strike(call("pagerduty", "mcp_tool:p1-3", "trigger"))
        assert isinstance(found, effect)
        sessions = [f"p1-{number}" for number in range(1, SESSIONS + 1)]
        by_refusal = {one: where.happened.refusal(one) for one in sessions}
        assert sum(refusal is not None for refusal in by_refusal.values()) == SESSIONS // 20
        for session, refusal in by_refusal.items():
            assert struck(sandbox, session, "resolve") is (refusal is not None)
            for action in ("trigger", "acknowledge"):
                assert struck(sandbox, session, action) is (refusal is not None and not refusal.only_ends)
    assert not struck(sandbox, "p1-3")
    assert where.members.trouble == []


async def test_sessions_of_other_phases_are_not_refused() -> None:
    sandbox = Sandbox()
    async with refused(503, 1)(scene(sandbox)):
        assert not [name for name in ("p11-1", "p2-1", "p1-11", "p1-12") if struck(sandbox, name)]
        assert struck(sandbox, "p1-1")


async def test_a_momentary_fault_does_not_take_its_place() -> None:
    sandbox = Sandbox()
    sandbox.faults.add(Fault(FaultyAnswer(status=413)))
    async with refused(503, 1)(scene(sandbox)):
        found = sandbox.faults.strike(call("pagerduty", "mcp_tool:p1-1", "trigger"))
        assert isinstance(found, FaultyAnswer)
        assert found.status == 503


async def test_a_refusal_that_nobody_met_is_told() -> None:
    where = scene(Sandbox())
    async with refused(403, 1)(where):
        pass
    assert where.members.trouble == ["nothing was refused with 403"]


async def test_those_that_come_together_refuse_different_alerts() -> None:
    where = scene(Sandbox())
    async with contextlib.AsyncExitStack() as stack:
        for kind in (kind for kind in LASTING.values() if kind.until_judged):
            await stack.enter_async_context(kind.context(where))
    assert len(where.happened.refusals) == 8
    for one, other in combinations(where.happened.refusals, 2):
        assert not set(one.sessions) & set(other.sessions)


def test_a_session_stays_in_its_partition_while_partitions_are_added() -> None:
    traffic = Traffic("", "", partitions=6)
    events = traffic._events("p1", random.Random(1))
    homes: dict[str, set[int | None]] = {}
    for session, partition, _ in islice(events, 300):
        homes.setdefault(session, set()).add(partition)
    before = set(homes)
    traffic.partitions = 7
    for session, partition, _ in islice(events, 3000):
        homes.setdefault(session, set()).add(partition)
    assert all(len(home) == 1 for home in homes.values())
    assert not any(homes[session] == {6} for session in before)
    assert any(homes[session] == {6} for session in homes.keys() - before)


def test_without_partitions_the_client_chooses_them() -> None:
    events = Traffic("", "")._events("p1", random.Random(1))
    assert {partition for _, partition, _ in islice(events, 300)} == {None}


def test_a_session_that_does_not_end_is_in_its_partition_and_denied_again_and_again() -> None:
    traffic = Traffic("", "", partitions=6, endless={4})
    events = list(islice(traffic._events("p1", random.Random(1)), 3000))
    mine = [(partition, fields) for session, partition, fields in events if session == "p1-endless-4"]
    denied = [fields for _, fields in mine if fields is not None and not fields["decision"]["allowed"]]
    assert {partition for partition, _ in mine} == {4}
    assert len(denied) > 50
    assert not [fields for _, fields in mine if fields is not None and fields["event_type"] == "session_end"]
    assert len({session for session, _, _ in events}) > 50


def test_transactions_back_to_back_hide_records_for_less_than_quiet_may_be_blind() -> None:
    """Else nothing in their partition may be resolved by quiet, and the account would ask for what must not be."""
    may_be_hidden = max(FRESH_SECONDS, OPEN_SHARE * QUIET_SECONDS)
    assert may_be_hidden > SHORT_TRANSACTION_SECONDS + 2 * LOOK_SECONDS
