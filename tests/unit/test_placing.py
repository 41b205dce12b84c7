"""What a task says and does about alerts whose integrations have changed since they were written down."""

from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from consumer.config import parse_config
from consumer.deciding.pipeline import Pipeline
from consumer.service.build import build_pipelines
from consumer.tasks.alerting.placing import Placing
from providers.integration import digest
from state.alert import Alert, Former, Notified, Owed, Status
from state.store import Store
from state.violation import Record, Severity
from tests.support.events import encode, event

HOST = "https://events.pagerduty.com"
OLD, NEW, HIGH, CRITICAL = ("a" * 32, "b" * 32, "h" * 32, "c" * 32)


class Log:
    """The lines that were logged, with their fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, name: str, **fields: Any) -> None:
        self.lines.append((name, fields))


def pipeline(**pagerduty: Any) -> Pipeline:
    document = {"exporters": {"alerting": {"pagerduty": {"routing_key": NEW, **pagerduty}}}}
    (made,) = build_pipelines(parse_config(yaml.safe_dump(document), {}, lambda path: ""))
    return made


def owed(severity: str = "high") -> Owed:
    value = encode(event(guard="secret_leak", severity=severity, tenant=None, session="s1"))
    record = Record("events", 0, 7, 1_800_000_000_000, b"s1", value)
    return Owed(record, Severity.HIGH, 1.8e9, 7, 7)


def alert(key: str, opened_by: str | None = OLD, **fields: Any) -> Alert:
    integration = digest(HOST, opened_by) if opened_by is not None else None
    told = Alert(
        key, Status.OPEN, "s1", 1, 1.8e9, 1.8e9, 1.8e9, Severity.HIGH,
        route="default", last_notified=Notified(Severity.HIGH, 1.8e9), is_at_provider=True, integration=integration,
    )  # fmt: skip
    return replace(told, **fields)


def placed(made: Pipeline, *alerts: Alert) -> tuple[list[Alert], Placing, Log]:
    log = Log()
    placing = Placing(made, log)  # type: ignore[arg-type]
    after = [placing.place(each) for each in alerts]
    placing.tell()
    return after, placing, log


def test_where_nothing_has_changed_nothing_is_said() -> None:
    here = alert("a", NEW), alert("b", NEW, owed=owed()), alert("c", None)
    after, _, log = placed(pipeline(), *here)
    assert list(map(id, after)) == list(map(id, here))
    assert log.lines == []


def test_each_kind_of_change_is_counted_and_each_orphan_is_named() -> None:
    retired, gone = "r" * 32, "x" * 32
    made = pipeline(routing={"by_guard": {"secret_leak": OLD}}, retired_routing_keys=[retired])
    _, _, log = placed(
        made, alert("renamed", OLD), alert("retired", retired), alert("gone", gone), alert("owing", gone, owed=owed())
    )
    where = [f"default ({digest(HOST, gone)})"]
    assert log.lines == [
        ("alert_orphaned", {"dedup_key": "gone", "integrations": where}),
        ("alert_orphaned", {"dedup_key": "owing", "integrations": where}),
        ("integrations_changed", {"renamed": 1, "retired": 1, "orphaned": 1, "owed": 1}),
    ]


def test_of_very_many_orphans_some_are_named_and_all_are_counted() -> None:
    _, _, log = placed(pipeline(), *(alert(str(number)) for number in range(250)))
    assert len(log.lines) == 101
    assert log.lines[-1][1]["orphaned"] == 250


@pytest.mark.parametrize(("severity", "key"), [("high", HIGH), ("critical", CRITICAL), ("medium", NEW)])
def test_what_is_owed_goes_through_the_route_that_its_record_has_today(severity: str, key: str) -> None:
    made = pipeline(routing={"by_severity": {"high": HIGH, "critical": CRITICAL}})
    (after,), placing, _ = placed(made, alert("a", owed=owed(severity)))
    assert after.integration == digest(HOST, key)
    store = Store()
    for _ in store.restore([after], 0.0):
        pass
    for _ in placing.moved_in(store):
        pass
    assert store.state_holds_another("a"), "it leaves once the state says where it goes"


def test_what_a_release_without_digests_wrote_gets_its_own_and_need_not_be_written_again() -> None:
    made = pipeline(routing={"by_severity": {"high": HIGH, "critical": CRITICAL}})
    untold = alert("a", None, route=None, last_notified=None, is_at_provider=False, owed=owed("high"))
    told = alert("b", None, route="by_severity:high", owed=owed("critical"))
    after, placing, log = placed(made, untold, told)
    assert [each.integration for each in after] == [digest(HOST, HIGH)] * 2
    assert (list(placing.moved_in(Store())), log.lines) == ([], [])


def test_what_made_room_and_what_is_being_resolved_where_it_was_get_todays_integration_too() -> None:
    made = pipeline(routing={"by_guard": {"secret_leak": OLD}})
    overflowed = alert("a", "x" * 32, route=None, last_notified=None, is_at_provider=False, overflow=Severity.HIGH)
    here = Former(digest(HOST, OLD), "by_guard:leaks")
    ending = alert(
        "b", None, route=None, last_notified=None, is_at_provider=False, status=Status.RESOLVING, former=(here,)
    )
    after, _, log = placed(made, overflowed, ending)
    assert [each.integration for each in after] == [None, here.integration]
    assert [each.former for each in after] == [(), ()]
    assert log.lines == []


def test_a_record_that_cannot_be_read_is_left_to_be_dead_lettered() -> None:
    broken = replace(owed(), record=replace(owed().record, value=b"{}"))
    (after,), _, _ = placed(pipeline(), alert("a", owed=broken))
    assert (after.owed, after.integration) == (broken, None)
    assert after.orphans == (Former(digest(HOST, OLD), "default"),)


def test_no_key_is_in_what_is_written_or_said() -> None:
    after, _, log = placed(pipeline(retired_routing_keys=[OLD]), alert("a"), alert("b", "x" * 32))
    said = repr((after, log.lines))
    assert not [key for key in (OLD, NEW, "x" * 32) if key in said]
