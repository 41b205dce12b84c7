"""One alert (design sections 5, 6, 8 and 22) in every order within small bounds, what each rule is for, and that the
code does with an alert what the model does."""

from collections.abc import Iterable
from itertools import product

import pytest

from state import alert as code
from state.alert import Status
from state.answers import resolve_answered, trigger_accepted, trigger_attempted, trigger_refused
from state.occurrences import Occurrence, occurred
from state.over import over
from state.policy import Policy
from state.silenced import over_after_silence, owes_after_silence, silenced
from state.violation import Record, Severity
from tests.model.alert import RULES, Alert, Change, Rules, World, explore, lowest

ORDERS = ["".join(items) for count in (1, 2, 3) for items in product("eEr", repeat=count) if items[0] != "r"]
"""Every order of up to three items, the first of which opens an alert."""

SILENCED = ["".join(items) for count in (2, 3) for items in product("emrux", repeat=count) if "m" in items[:-1]]
"""Every order of up to three items of which one that is not the last is silenced."""

LARGER = [
    World("eere", timers=1),
    World("ere", crashes=1, timers=1, rejections=1),
    World("er", crashes=2, timers=1, rejections=1),
    World("eEre", crashes=1, rejections=1),
    World("eEr", crashes=1, rejections=1, late=1),
    World("ere", crashes=1, rejections=1, late=1),
    World("ee", crashes=1, timers=1, late=2),
    World("ermu", crashes=1, late=1),
    World("ermx", crashes=1, rejections=1),
    World("emrmu", crashes=1),
    World("mmue", crashes=1, rejections=1, unread=1),
    World("mxe", crashes=1, timers=1, unread=1),
]
"""More of them than these, 4.9 million states, have been explored once."""

WEAKENED = {
    "one_transaction": (World("e", crashes=1), "lost"),
    "intent_is_committed": (World("er", crashes=1), "opened twice"),
    "intent_is_exact": (World("er", crashes=1), "opened twice"),
    "caught_up": (World("ee", timers=1), "resolved live"),
    "answer_is_of_what_was_sent": (World("eer", timers=1), "lost"),
    "resolve_waits_for_late_ones": (World("er", late=1), "orphan"),
    "unknown_resolve_is_repeated": (World("ere", late=1), "open here only"),
    "repeat_waits": (World("ere", late=1), "open here only"),
    "earlier_owner_may_have_sent": (World("ee", crashes=1, rejections=1), "orphan"),
    "event_opens_resolving": (World("ee", timers=1), "lost"),
    "owed_goes_first": (World("e", timers=1), "lost"),
    "resolving_is_not_had": (World("ee", timers=1, rejections=1), "open here only"),
    "worse_is_told": (World("eE"), "played down"),
    "rejected_is_not_told": (World("ee", rejections=1), "lost"),
    "arrived_is_resolved": (World("e", rejections=1, late=1), "orphan"),
    "silenced_is_not_owed": (World("m"), "not silent"),
    "silenced_is_held": (World("mu"), "lost"),
    "live_is_told": (World("mu"), "lost"),
    "resolved_is_silenced": (World("erm"), "lost"),
    "silenced_may_be_told": (World("mx", crashes=1, unread=1), "orphan"),
}
"""Of each rule the smallest world in which a promise is broken without it."""

NOW = 1_800_000_000.0
POLICY = Policy(window_seconds=300.0, renotify_seconds=3600.0, quiet_seconds=1800.0, forget_seconds=7 * 86400.0)
SEVERITIES = {"e": Severity.HIGH, "E": Severity.CRITICAL, "m": Severity.HIGH}
LEVELS = {None: 0, Severity.HIGH: 1, Severity.CRITICAL: 2}


@pytest.mark.parametrize("given", [{"timers": 1}, {"crashes": 1}, {"rejections": 1}, {"late": 1}], ids=str)
def test_no_order_breaks_a_promise(given: dict[str, int]) -> None:
    for items in ORDERS:
        found = explore(Rules(), World(items, **given))
        assert found.broken == {}, items
        assert found.states > 10


@pytest.mark.parametrize("given", [{"timers": 1}, {"crashes": 1, "unread": 1}, {"rejections": 1}], ids=str)
def test_no_order_with_silences_breaks_one(given: dict[str, int]) -> None:
    for items in SILENCED:
        assert explore(Rules(), World(items, **given)).broken == {}, items


@pytest.mark.parametrize("world", LARGER, ids=str)
def test_no_order_of_more_breaks_one(world: World) -> None:
    found = explore(Rules(), world)

    assert found.broken == {}
    assert found.states > 1000


@pytest.mark.parametrize("rule", WEAKENED)
def test_each_rule_is_needed(rule: str) -> None:
    world, promise = WEAKENED[rule]

    assert promise in explore(Rules().without(rule), world).broken


def test_each_rule_is_accounted_for() -> None:
    assert set(RULES) == WEAKENED.keys()


# the code

Seen = tuple[bool, int, tuple[int, int, int, int, bool] | None, int, bool, bool, bool, int]
"""What the model knows of an alert and the code has to agree with."""


@pytest.mark.parametrize("world", LARGER, ids=str)
def test_the_code_does_with_an_alert_what_the_model_does(world: World) -> None:
    changes = explore(Rules(), world).changes

    assert _difference(changes, world) is None
    assert len(changes) > 10


@pytest.mark.parametrize(
    "rule",
    [
        "answer_is_of_what_was_sent",
        "unknown_resolve_is_repeated",
        "event_opens_resolving",
        "owed_goes_first",
        "resolving_is_not_had",
        "worse_is_told",
        "rejected_is_not_told",
        "arrived_is_resolved",
        "resolved_is_silenced",
        "live_is_told",
    ],
)
def test_a_model_with_another_transition_is_found_to_differ_from_the_code(rule: str) -> None:
    worlds = [WEAKENED[rule][0], World("eEre", timers=1, rejections=1)]

    found = [_difference(explore(Rules().without(rule), world).changes, world) for world in worlds]

    assert any(change is not None for change in found)


def _difference(changes: Iterable[Change], world: World) -> Change | None:
    """The first change of which the code makes something else."""
    alerts: dict[Alert | None, code.Alert | None] = {None: None}
    for change in changes:
        for one in (change.before, change.sent):
            if one not in alerts:
                assert one is not None
                # Only that an earlier owner may have sent it tells this one from an alert that is there.
                alerts[one] = _sent(alerts[one._replace(sent=False)])
        after, dead = _applied(change, alerts, world)
        if _seen(after) != _expected(change.after, world):
            return change
        if change.kind == "rejected" and dead != change.dead.bit_count():
            return change
        alerts.setdefault(change.after, after)
    return None


def _applied(
    change: Change, alerts: dict[Alert | None, code.Alert | None], world: World
) -> tuple[code.Alert | None, int]:
    """What the code makes of it, and how many occurrences a dead letter has."""
    before, sent = alerts[change.before], alerts[change.sent]
    match change.kind:
        case "occurred":
            severity = SEVERITIES[world.items[change.item]]
            record = Record("events", 0, change.item, int(NOW * 1000), b"s1", b"{}")
            return occurred(before, "key", "s1", Occurrence(severity, NOW, record), NOW, POLICY)[0], 0
        case "silenced":
            occurrence = Occurrence(Severity.HIGH, NOW, Record("events", 0, change.item, int(NOW * 1000), b"s1", b"{}"))
            return silenced(before, "key", "s1", occurrence, {"id": NOW + 60}, NOW), 0
        case "live":
            assert before is not None
            return owes_after_silence(before, Record("events", 0, 0, int(NOW * 1000), b"s1", b"{}"), NOW), 0
        case "gone":
            assert before is not None
            return over_after_silence(before), 0
        case "over":
            assert before is not None
            return over(before), 0
        case "attempted":
            assert before is not None
            return trigger_attempted(before, "default", True, NOW), 0
        case "accepted":
            assert before is not None
            assert sent is not None
            assert sent.owed is not None
            return trigger_accepted(before, sent.owed, "default", None, NOW), 0
        case "rejected":
            assert before is not None
            assert sent is not None
            assert sent.owed is not None
            after, dead = trigger_refused(before, sent.owed, NOW)
            return after, dead.occurrences
        case "resolved":
            assert before is not None
            assert sent is not None
            return resolve_answered(before, before if change.before == change.sent else sent), 0
        case kind:
            raise AssertionError(kind)


def _sent(alert: code.Alert | None) -> code.Alert:
    assert alert is not None
    return trigger_attempted(alert, "default", True, NOW)


def _seen(alert: code.Alert | None) -> Seen | None:
    if alert is None:
        return None
    owed = alert.owed
    return (
        alert.status is Status.RESOLVING,
        alert.occurrences,
        None
        if owed is None
        else (owed.first_offset, owed.last_offset, owed.occurrences, LEVELS[owed.severity], owed.repeat),
        LEVELS[alert.last_notified.severity if alert.last_notified is not None else None],
        alert.is_at_provider,
        alert.route is not None,
        alert.unsettled,
        0 if alert.held is None else alert.held.occurrences,
    )


def _expected(alert: Alert | None, world: World) -> Seen | None:
    if alert is None:
        return None
    owed = alert.owed
    severity = max((LEVELS[SEVERITIES[world.items[i]]] for i in range(len(world.items)) if owed >> i & 1), default=0)
    return (
        alert.resolving,
        alert.counted.bit_count(),
        (lowest(owed), owed.bit_length() - 1, owed.bit_count(), severity, alert.repeat) if owed else None,
        alert.told,
        alert.has,
        alert.sent,
        alert.unsettled,
        alert.held.bit_count(),
    )
