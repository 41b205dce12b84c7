"""Which events concern a pipeline (design sections 4 and 8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.filter import End, EndRule, EndRules, Filter
from state.violation import Severity


@pytest.mark.parametrize("severity", Severity)
def test_the_threshold_is_inclusive(severity: Severity) -> None:
    filter = Filter(Severity.MEDIUM)
    assert filter.passes(False, severity, "secret_leak", "guard_block") is (severity >= Severity.MEDIUM)


@pytest.mark.parametrize("severity", Severity)
def test_an_allowed_event_never_alerts(severity: Severity) -> None:
    filter = Filter(Severity.INFO, include_guards=["secret_leak"])
    assert not filter.passes(True, severity, "secret_leak", "guard_warn")


@pytest.mark.parametrize(
    ("lists", "passes"),
    [
        ({}, True),
        ({"include_guards": ["secret_leak"]}, True),
        ({"include_guards": ["mcp_tool"]}, False),
        ({"exclude_guards": ["secret_leak"]}, False),
        ({"exclude_guards": ["mcp_tool"]}, True),
        ({"include_guards": ["secret_leak"], "exclude_guards": ["secret_leak"]}, False),
        ({"include_event_types": ["secret_detected"]}, True),
        ({"include_event_types": ["egress_blocked"]}, False),
        ({"exclude_event_types": ["secret_detected"]}, False),
        ({"include_event_types": ["secret_detected"], "exclude_event_types": ["secret_detected"]}, False),
        ({"include_guards": ["secret_leak"], "include_event_types": ["egress_blocked"]}, False),
        ({"include_guards": ["secret_leak"], "exclude_event_types": ["secret_detected"]}, False),
    ],
)
def test_exclude_beats_include_and_an_empty_list_means_all(lists: dict[str, list[str]], passes: bool) -> None:
    assert Filter(Severity.HIGH, **lists).passes(False, Severity.HIGH, "secret_leak", "secret_detected") is passes


@pytest.mark.parametrize("allowed", [True, False])
def test_the_end_of_a_session_ends_whatever_its_decision_was(allowed: bool) -> None:
    assert EndRules(on_session_end=True).end_of("session_end", "engine", allowed) is End.SESSION
    assert EndRules(on_session_end=False).end_of("session_end", "engine", allowed) is None
    assert EndRules(on_session_end=True).end_of("session_start", "engine", allowed) is None


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (EndRule(event_type="policy_allow"), True),
        (EndRule(guard="posture"), True),
        (EndRule(allowed=True), True),
        (EndRule(event_type="policy_allow", guard="posture", allowed=True), True),
        (EndRule(event_type="policy_allow", guard="posture", allowed=False), False),
        (EndRule(event_type="policy_allow", guard="engine"), False),
        (EndRule(event_type="guard_warn", guard="posture"), False),
    ],
)
def test_a_rule_asks_for_all_that_it_names(rule: EndRule, ends: bool) -> None:
    rules = EndRules(on_events=[EndRule(event_type="never"), rule])
    assert rules.end_of("policy_allow", "posture", True) is (End.KEY if ends else None)


def test_a_session_end_counts_before_a_rule_for_the_same_event() -> None:
    rules = EndRules(on_session_end=True, on_events=[EndRule(event_type="session_end")])
    assert rules.end_of("session_end", "engine", True) is End.SESSION


def test_a_rule_that_would_match_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of"):
        EndRule()


def test_end_rules_know_whether_there_are_any() -> None:
    assert not EndRules()
    assert EndRules(on_session_end=True)
    assert EndRules(on_events=[EndRule(guard="posture")])


_TYPES = st.sampled_from(["session_end", "session_start", "policy_allow", "guard_warn"])
_RULES = st.builds(
    EndRule,
    event_type=st.none() | _TYPES,
    guard=st.none() | st.sampled_from(["posture", "engine"]),
    allowed=st.booleans(),
)


@given(on_session_end=st.booleans(), on_events=st.lists(_RULES, max_size=3), event_type=_TYPES)
def test_an_event_type_that_no_rule_names_ends_nothing(
    on_session_end: bool, on_events: list[EndRule], event_type: str
) -> None:
    rules = EndRules(on_session_end, on_events)
    can_end = any(
        rules.end_of(event_type, guard, allowed) is not None
        for guard in ("posture", "engine", "another")
        for allowed in (True, False)
    )
    assert (rules.event_types is None or event_type in rules.event_types) or not can_end
    if rules.event_types is not None and event_type in rules.event_types:
        assert can_end, "an event type is asked about without need"
