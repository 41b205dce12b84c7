"""The oracle and the check: what the events demand, and that every kind of difference is seen."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from consumer.demo.check import Check, check_count, check_incidents
from consumer.demo.oracle import Demand, Produced, demands
from consumer.demo.scrape import PipelineNumbers, parse
from consumer.demo.stage import OPSGENIE_KEY, PIPELINES, RULES, DemoStage, pagerduty_key, route_shown
from consumer.demo.summary import checks
from providers.sandbox import Incident
from tests.support.events import event as security_event

KEYS = iter(range(1_000_000))


def denial(
    guard: str = "forbidden_path", severity: str = "critical", session: str = "s-1", tenant: str = "globex", **more: str
) -> Produced:
    """One alertable event; ``more`` is its labels."""
    return Produced.of(security_event(guard=guard, severity=severity, session=session, tenant=tenant, labels=more))


def end(session: str = "s-1") -> Produced:
    return Produced.of(
        security_event(session=session, allowed=True, event_type="session_end", guard="engine", severity="info")
    )


def demanded(*produced: Produced, provider: str = "pagerduty") -> list[Demand]:
    return demands(produced, RULES[provider])


# the oracle


def test_events_of_one_problem_demand_one_incident() -> None:
    first, again = denial(), denial()
    (demand,) = demanded(first, again)
    assert demand == Demand("forbidden_path:s-1", ("default",), "critical", False, {first.event_id, again.event_id})


def test_other_guards_and_other_sessions_are_other_problems() -> None:
    keys = [demand.dedup_key for demand in demanded(denial(), denial(guard="mcp_tool"), denial(session="s-2"))]
    assert keys == ["forbidden_path:s-1", "mcp_tool:s-1", "forbidden_path:s-2"]


def test_what_is_allowed_or_below_high_demands_nothing() -> None:
    warning = replace(denial(severity="medium"), allowed=True)
    assert demanded(denial(severity="medium"), denial(severity="info"), warning, end()) == []


def test_the_highest_severity_is_demanded_in_the_providers_words() -> None:
    events = denial(severity="high"), denial(severity="critical"), denial(severity="high")
    assert demanded(*events)[0].severity == "critical"
    assert demanded(events[0])[0].severity == "error"
    assert demanded(*events, provider="opsgenie")[0].severity == "P1"
    assert demanded(events[0], provider="opsgenie")[0].severity == "P2"


def test_the_end_of_the_session_resolves_all_of_it_and_nothing_else() -> None:
    found = demanded(denial(), denial(guard="mcp_tool"), denial(session="s-2"), end("s-1"))
    assert [demand.is_resolved for demand in found] == [True, True, False]


def test_an_event_behind_the_end_begins_another_incident() -> None:
    found = demanded(denial(), end(), denial())
    assert [(demand.dedup_key, demand.is_resolved) for demand in found] == [
        ("forbidden_path:s-1", True),
        ("forbidden_path:s-1", False),
    ]


@pytest.mark.parametrize(
    ("event", "integration", "teams"),
    [
        (denial(), ("default",), ("security", "soc")),
        (denial(tenant="acme-corp"), ("acme-corp",), ("security", "soc")),
        (denial("secret_leak", tenant="acme-corp"), ("secret_leak",), ("dlp", "security")),
        (denial("mcp_tool", team="payments"), ("default",), ("payments-oncall", "security")),
        (denial("mcp_tool", team="platform"), ("default",), ("security",)),
    ],
)
def test_the_route_is_by_guard_then_by_tenant_and_teams_add_up(
    event: Produced, integration: tuple[str, ...], teams: tuple[str, ...]
) -> None:
    assert demanded(event)[0].route == integration
    assert demanded(event, provider="opsgenie")[0].route == teams


# the check

PRODUCED = (
    denial(severity="high"),
    denial(severity="critical"),
    denial(guard="secret_leak", session="s-2"),
    denial(guard="mcp_tool", session="s-2", severity="high"),
    end("s-2"),
)


def incident(demand: Demand, provider: str) -> Incident:
    """The incident that a demand asks for."""
    at_pagerduty = provider == "pagerduty"
    return Incident(
        number=1,
        id=f"i-{next(KEYS)}",
        provider=provider,
        key=pagerduty_key(demand.route[0]) if at_pagerduty else OPSGENIE_KEY,
        dedup_key=demand.dedup_key,
        title="Access to forbidden path",
        severity=demand.severity,
        opened_at=0.0,
        opened_monotonic=0.0,
        status="ended" if demand.is_resolved else "open",
        event_ids=sorted(demand.event_ids)[:1],
        opened_with=None if at_pagerduty else {"responders": [{"type": "team", "name": t} for t in demand.route]},
    )


@pytest.fixture(params=PIPELINES)
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def differing(found: Sequence[Check]) -> dict[str, tuple[str, ...]]:
    return {check.what: check.differences for check in found if not check.holds}


def compare(provider: str, change: Callable[[list[Incident]], object]) -> dict[str, tuple[str, ...]]:
    """What differs when the right incidents have been changed."""
    wanted = demanded(*PRODUCED, provider=provider)
    incidents = [incident(demand, provider) for demand in wanted]
    change(incidents)
    return differing(check_incidents(wanted, incidents, route_shown))


def test_the_right_incidents_pass(provider: str) -> None:
    assert compare(provider, lambda incidents: None) == {}


def test_a_missing_incident_is_seen(provider: str) -> None:
    (differences,) = compare(provider, lambda incidents: incidents.pop(0)).values()
    assert len(differences) == 1
    assert differences[0].startswith("missing: ")
    assert differences[0].endswith("s-1")


def test_an_extra_incident_is_seen(provider: str) -> None:
    extra = incident(Demand("unasked", ("default",), "error", event_ids={"e"}), provider)
    found = compare(provider, lambda incidents: incidents.append(extra))
    assert found == {"incidents": ("extra: unasked (Access to forbidden path)",)}


def test_a_second_incident_of_the_same_problem_is_seen(provider: str) -> None:
    found = compare(provider, lambda incidents: incidents.append(replace(incidents[0], number=9)))
    assert list(found) == ["incidents"]


def test_an_incident_that_the_sandbox_calls_extra_is_seen(provider: str) -> None:
    found = compare(provider, lambda incidents: setattr(incidents[0], "extra", "event_told_before"))
    assert "event_told_before" in found["incidents"][0]


def test_a_wrong_route_is_seen(provider: str) -> None:
    def reroute(incidents: list[Incident]) -> None:
        incidents[0].key = pagerduty_key("acme-corp")
        incidents[0].opened_with = {"responders": [{"type": "team", "name": "others"}]}

    assert list(compare(provider, reroute)) == ["route"]


def test_a_missing_resolve_is_seen(provider: str) -> None:
    found = compare(provider, lambda incidents: setattr(incidents[1], "status", "open"))
    assert len(found["state"]) == 1
    assert found["state"][0].endswith("open instead of resolved")


def test_a_resolve_of_a_live_problem_is_seen(provider: str) -> None:
    found = compare(provider, lambda incidents: setattr(incidents[0], "status", "ended"))
    assert found["state"][0].endswith("resolved instead of open")


def test_a_severity_that_did_not_rise_is_seen(provider: str) -> None:
    lower = RULES[provider].severities["high"]
    assert list(compare(provider, lambda incidents: setattr(incidents[0], "severity", lower))) == ["severity"]


@pytest.mark.parametrize("told", [[], ["an event of another problem"]])
def test_an_incident_about_other_events_is_seen(provider: str, told: list[str]) -> None:
    assert list(compare(provider, lambda incidents: setattr(incidents[0], "event_ids", told))) == ["own events"]


def test_counts_are_exact_unless_a_task_had_to_start_again() -> None:
    assert check_count("x", 3, 3).holds
    assert not check_count("x", 3, 4).holds
    assert check_count("x", 3, 4, at_least=True).holds
    assert not check_count("x", 3, 2, at_least=True).holds


def test_the_summary_checks_both_providers_and_the_services_own_numbers() -> None:
    incidents = [incident(demand, name) for name in PIPELINES for demand in demanded(*PRODUCED, provider=name)]
    numbers = {name: PipelineNumbers() for name in PIPELINES}
    for one in numbers.values():
        one.events.update(triggered=3, suppressed=1)
    assert all(not differing(of_provider) for of_provider in checks(PRODUCED, incidents, numbers).values())
    numbers["opsgenie"].dead_letters = 1
    numbers["pagerduty"].events["suppressed"] = 0
    found = checks(PRODUCED, incidents, numbers)
    assert list(differing(found["opsgenie"])) == ["dead letters"]
    assert list(differing(found["pagerduty"])) == ["alertable events"]


# the numbers


def test_metrics_are_added_up_by_pipeline() -> None:
    numbers = parse(
        "# TYPE clawdstrike_alerting_events counter\n"
        'clawdstrike_alerting_events_total{outcome="triggered",pipeline="pagerduty"} 2.0\n'
        'clawdstrike_alerting_events_total{outcome="suppressed",pipeline="pagerduty"} 5.0\n'
        'clawdstrike_alerting_notifications_total{action="trigger",pipeline="pagerduty",result="accepted",route=""} 2\n'
        'clawdstrike_alerting_notifications_total{action="trigger",pipeline="pagerduty",result="refused",route="b"} 1\n'
        'clawdstrike_alerting_lag{partition="0",pipeline="pagerduty"} 1.0\n'
        'clawdstrike_alerting_lag{partition="1",pipeline="pagerduty"} 2.0\n'
        'clawdstrike_alerting_alerts{partition="1",pipeline="pagerduty",status="open"} 2.0\n'
    )
    one = numbers["pagerduty"]
    assert (one.alertable, one.suppressed, one.errors, one.lag, one.alerts["open"]) == (7, 5, 1, 3, 2)
    assert not one.is_idle


def test_the_stage_has_names_of_its_own_only_on_a_broker_of_others() -> None:
    own = DemoStage("127.0.0.1:9092", "http://127.0.0.1:1", 8080, 60).config()["kafka"]
    assert "topics" not in own
    shared = DemoStage("127.0.0.1:9092", "http://127.0.0.1:1", 8080, 60, "ab12").config()["kafka"]
    assert shared["group_id"] == "clawdstrike-demo-ab12"
    assert all(name.startswith("clawdstrike-demo-ab12.") for name in shared["topics"].values())
