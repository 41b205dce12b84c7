"""Which integration an alert belongs to today: the table of design section 18, row by row."""

from typing import Any

import pytest
from msgspec.structs import replace

from providers.answer import Accepted
from providers.belonging import Integrations, Standing
from providers.integration import digest, retired_route
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from state.alert import Alert, Former, Notified, Owed, Status
from state.due import Due, due
from state.over import over
from state.violation import Record, Severity

HOST = "https://events.pagerduty.com"
OLD, NEW, OTHER = "a" * 32, "b" * 32, "c" * 32
OWED = Owed(Record("events", 0, 7, 1_800_000_000_000, b"s1", b"{}"), Severity.HIGH, 1.8e9, 7, 7, attempts=3)
GUARD = "by_guard:secret_leak"


def integrations(*, default: str = NEW, guards: dict[str, str] | None = None, retired: tuple[str, ...] = ()) -> Any:
    settings = {"routing_key": default, "routing": {"by_guard": guards or {}}, "retired_routing_keys": retired}
    return Integrations.of(PagerDuty(PagerDutySettings.model_validate(settings)))


def id_of(key: str) -> str:
    return digest(HOST, key)


def told(**fields: Any) -> Alert:
    """An alert whose incident was opened through the route of a guard, with the key OLD."""
    alert = Alert(
        "secret_leak:s1", Status.OPEN, "s1", 3, 1.7e9, 1.8e9, 1.8e9, Severity.HIGH,
        route=GUARD, last_notified=Notified(Severity.HIGH, 1.8e9), is_at_provider=True, integration=id_of(OLD),
    )  # fmt: skip
    return replace(alert, **fields)


HERE = Former(id_of(OLD), GUARD)


# nothing has changed, or only names


def test_an_alert_whose_integration_is_in_use_stays_as_it_is() -> None:
    now, alert = integrations(guards={"secret_leak": OLD}), told()
    assert now.placed(alert) is alert
    assert now.standing(alert) is Standing.THE_SAME
    assert now.route(alert.integration, alert.route) == GUARD


@pytest.mark.parametrize("name", ["by_guard:leaks", "default"])
def test_a_route_of_another_name_is_found_by_the_key(name: str) -> None:
    now = integrations(default=OLD) if name == "default" else integrations(guards={"leaks": OLD})
    alert = told()
    assert now.placed(alert) is alert
    assert (now.standing(alert), now.route(alert.integration, alert.route)) == (Standing.RENAMED, name)


def test_a_name_that_another_key_has_now_is_not_followed() -> None:
    now, alert = integrations(default=OLD, guards={"secret_leak": OTHER}), told()
    assert (now.placed(alert), now.route(alert.integration, alert.route)) == (alert, "default")


def test_of_routes_that_share_a_key_the_one_with_the_name_is_taken() -> None:
    now = integrations(default=OLD, guards={"secret_leak": OLD})
    assert now.route(id_of(OLD), GUARD) == GUARD
    assert now.route(id_of(OLD), "by_guard:gone") == "default"


def test_what_a_release_without_digests_wrote_is_found_by_its_name() -> None:
    now, alert = integrations(guards={"secret_leak": OTHER}), told(integration=None)
    assert now.placed(alert) is alert
    assert now.standing(alert) is Standing.THE_SAME
    assert now.standing(replace(alert, route="by_guard:gone")) is Standing.ORPHANED


# the key is retired


def test_what_a_retired_key_has_opened_is_told_by_its_next_event_and_resolved_by_that_key() -> None:
    now, alert = integrations(retired=(OLD,)), told()
    placed = now.placed(alert)
    assert now.standing(alert) is Standing.RETIRED
    assert (placed.integration, placed.route, placed.last_notified, placed.is_at_provider) == (None, None, None, False)
    assert (placed.former, placed.orphans) == ((HERE,), ())
    assert due(placed) is None, "it is resolved there once it is told elsewhere, or over"
    ending = over(placed)
    assert ending is not None
    assert due(ending) is Due.RESOLVE_FORMER
    assert now.route(ending.former[0].integration) == retired_route(id_of(OLD))


def test_what_is_resolving_or_acknowledging_goes_on_through_the_retired_key() -> None:
    now = integrations(retired=(OLD,))
    assert due(now.placed(told(status=Status.RESOLVING, is_at_provider=False))) is Due.RESOLVE_FORMER
    assert due(now.placed(told(acknowledging=True))) is Due.ACKNOWLEDGE


def test_a_trigger_that_is_owed_by_a_retired_key_is_new_elsewhere() -> None:
    repeat = replace(OWED, repeat=True)
    placed = integrations(retired=(OLD,)).placed(told(status=Status.ACKNOWLEDGED, owed=repeat, unsettled=True))
    assert placed.owed is not None
    assert (placed.owed.repeat, placed.owed.attempts, placed.unsettled) == (False, 0, False)
    assert (placed.status, placed.former) == (Status.OPEN, (HERE,))


def test_what_was_never_seen_to_leave_through_a_retired_key_is_resolved_there_all_the_same() -> None:
    placed = integrations(retired=(OLD,)).placed(told(route=None, last_notified=None, is_at_provider=False, owed=OWED))
    assert placed.former == (Former(id_of(OLD), retired_route(id_of(OLD))),)


# the key is gone


def test_what_a_key_has_opened_that_is_gone_is_an_orphan_and_its_next_event_triggers() -> None:
    now, alert = integrations(), told()
    placed = now.placed(alert)
    assert (now.standing(alert), now.orphans(alert)) == (Standing.ORPHANED, [HERE])
    assert (placed.last_notified, placed.route, placed.former, placed.orphans) == (None, None, (), (HERE,))
    assert over(placed) is None, "nobody can be told"


def test_an_old_configuration_that_comes_back_finds_it_again() -> None:
    alert = told()
    assert integrations().placed(alert) != alert
    assert integrations(guards={"secret_leak": OLD}).placed(alert) is alert, "nothing was stored"


def test_what_is_owed_by_a_key_that_is_gone_may_have_arrived() -> None:
    now, owing = integrations(), told(owed=OWED)
    assert now.standing(owing) is Standing.OWED
    assert now.placed(owing).orphans == (HERE,)


def test_what_is_owed_and_was_never_seen_to_leave_leaves_no_orphan() -> None:
    """A key that was refused for a day is replaced: nothing that was owed is said to have an incident somewhere."""
    now, owing = integrations(), told(route=None, last_notified=None, is_at_provider=False, owed=OWED)
    assert now.standing(owing) is Standing.OWED
    placed = now.placed(owing)
    assert (now.orphans(owing), placed.orphans, placed.integration) == ([], (), None)


# an alert that has moved


MOVED = told(integration=id_of(NEW), route="default", former=(HERE,))


def test_an_integration_that_an_alert_has_left_is_resolved_while_the_alert_goes_on() -> None:
    placed = integrations(retired=(OLD,)).placed(MOVED)
    assert placed == MOVED
    assert due(placed) is Due.RESOLVE_FORMER
    assert integrations(retired=(OLD,)).standing(MOVED) is Standing.RETIRED, "its key is needed still"
    assert integrations(guards={"leaks": OLD}).standing(MOVED) is Standing.THE_SAME


def test_it_is_an_orphan_if_its_key_is_gone() -> None:
    now = integrations()
    placed = now.placed(MOVED)
    assert now.standing(MOVED) is Standing.ORPHANED
    assert (placed.former, placed.orphans, due(placed)) == ((), (HERE,), None)
    assert (placed.integration, placed.is_at_provider) == (id_of(NEW), True)


def test_an_alert_comes_back_to_an_integration_that_it_has_left_if_its_own_is_gone() -> None:
    placed = integrations(default=OTHER, guards={"secret_leak": OLD}).placed(MOVED)
    assert (placed.integration, placed.route, placed.unsettled) == (id_of(OLD), GUARD, True)
    assert placed.orphans == (Former(id_of(NEW), "default"),)
    assert due(placed) is None, "what is live is not resolved"


# digests


@pytest.mark.parametrize("same", [f"{HOST}/v2/enqueue", f"{HOST}:443/gateway/v2", "https://EVENTS.pagerduty.com"])
def test_an_integration_is_a_key_at_a_host_whatever_the_path(same: str) -> None:
    assert digest(same, OLD) == digest(HOST, OLD)


@pytest.mark.parametrize("other", ["https://events.eu.pagerduty.com", f"{HOST}:8443"])
def test_at_another_host_it_is_another(other: str) -> None:
    assert digest(other, OLD) != digest(HOST, OLD)


def test_a_digest_is_short_and_says_nothing_of_the_key() -> None:
    found = digest(HOST, OLD)
    assert len(found) == 16
    assert OLD[:4] not in found
    assert digest(HOST, OLD[:-1] + "b") != found


# OpsGenie: one alert for all keys of an account

OPSGENIE = "https://api.opsgenie.com"
OPSGENIE_OLD, OPSGENIE_NEW = "old-key-of-opsgenie", "new-key-of-opsgenie"


def account(*retired: str, key: str = OPSGENIE_NEW) -> Integrations:
    settings = {"api_key": key, "retired_api_keys": retired}
    return Integrations.of(OpsGenie(OpsGenieSettings.model_validate(settings)))


def opened(**fields: Any) -> Alert:
    """An alert that was opened with the key OPSGENIE_OLD."""
    return told(**{"integration": digest(OPSGENIE, OPSGENIE_OLD), "route": "default", **fields})


def test_what_a_retired_key_of_opsgenie_has_opened_is_closed_by_it_only_when_it_is_over() -> None:
    now = account(OPSGENIE_OLD)
    placed = now.placed(opened())
    assert placed.former == (Former(digest(OPSGENIE, OPSGENIE_OLD), "default", until_over=True),)
    assert (placed.last_notified, placed.integration, due(placed)) == (None, None, None)
    by_the_new_key = replace(placed, route="default", is_at_provider=True, last_notified=Notified(Severity.HIGH, 1.8e9))
    assert due(by_the_new_key) is None, "to close it would close what has just been told: it is the same alert"
    ending = over(by_the_new_key)
    assert ending is not None
    assert due(ending) is Due.RESOLVE
    assert due(replace(ending, route=None)) is Due.RESOLVE_FORMER


def test_what_a_key_of_opsgenie_has_opened_that_is_gone_is_within_reach_of_todays() -> None:
    now, alert = account(), opened()
    placed = now.placed(alert)
    assert (now.standing(alert), now.orphans(alert), placed.orphans) == (Standing.THE_SAME, (), ())
    assert (placed.integration, placed.route, placed.former) == (digest(OPSGENIE, OPSGENIE_NEW), "default", ())
    assert placed.last_notified is None, "its next event says so, if the account is another after all"
    ending = over(placed)
    assert ending is not None
    assert due(ending) is Due.RESOLVE


def test_one_that_a_retired_key_was_to_close_is_closed_by_todays_when_that_is_gone() -> None:
    placed = account().placed(account(OPSGENIE_OLD).placed(opened()))
    assert (placed.integration, placed.former, placed.orphans) == (digest(OPSGENIE, OPSGENIE_NEW), (), ())
    ending = over(placed)
    assert ending is not None
    assert due(ending) is Due.RESOLVE


def test_a_resolve_that_is_under_way_is_known_of_after_the_key_was_rotated() -> None:
    repeat = replace(OWED, repeat=True)
    for alert in (opened(unsettled=True), opened(owed=repeat)):
        assert account(OPSGENIE_OLD).placed(alert).unsettled
    assert not account(OPSGENIE_OLD).placed(opened()).unsettled


def test_opsgenie_closes_with_the_key_that_opened() -> None:
    settings = {"api_key": "new-key-of-opsgenie", "retired_api_keys": ["old-key-of-opsgenie"]}
    provider = OpsGenie(OpsGenieSettings.model_validate(settings))
    default, retired = provider.routes
    assert provider.retired_routes == (retired,)
    assert not provider.knows(retired)
    assert provider.integration_of(default) != provider.integration_of(retired)
    assert provider.check(retired).headers["Authorization"] == "GenieKey old-key-of-opsgenie"
    assert provider.check(default).headers["Authorization"] == "GenieKey new-key-of-opsgenie"
    assert "old-key" not in retired
    answer = provider.classify(400, {}, b"no old-key-of-opsgenie")
    assert not isinstance(answer, Accepted)
    assert "[secret]" in answer.reason


def test_no_trigger_goes_through_a_retired_route() -> None:
    provider = PagerDuty(PagerDutySettings.model_validate({"routing_key": NEW, "retired_routing_keys": [OLD]}))
    assert tuple(provider.routes) == ("default", retired_route(id_of(OLD)))
    assert [provider.knows(route) for route in provider.routes] == [True, False]
    assert not [route for route in provider.routes if OLD in route]
