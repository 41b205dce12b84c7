"""PagerDuty's own Python client drives the sandbox, over TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pagerduty
import pytest
import trustme

from providers.sandbox import Sandbox, SandboxSettings, running_sandbox

KEY, TOKEN = "a" * 32, "y_NbAkKc66ryYTWUXYEu"


@pytest.fixture
def trust() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate of a test's authority, and a client that trusts that."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
async def sandbox(trust: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(pagerduty_keys=frozenset({KEY}), pagerduty_rest_tokens=frozenset({TOKEN}))
    async with running_sandbox(settings, ssl_context=trust[0]) as running:
        yield running


async def test_its_events_open_acknowledge_and_resolve(
    sandbox: Sandbox, trust: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    client = pagerduty.EventsApiV2Client(KEY, base_url=sandbox.url, verify=trust[1])

    def cycle() -> str:
        dedup_key: str = client.trigger("Summary", "source", severity="critical", custom_details={"event_id": "e1"})
        client.acknowledge(dedup_key)
        client.resolve(dedup_key)
        # With a time: without one the client's version 7.2.0 fails before it sends anything.
        client.submit("A change", "source", {"event_id": "e2"}, timestamp="2026-05-20T14:00:00.123456+00:00Z")
        return dedup_key

    dedup_key = await asyncio.to_thread(cycle)
    (incident,) = sandbox.incidents()
    assert (incident.dedup_key, incident.title, incident.severity) == (dedup_key, "Summary", "critical")
    assert (incident.status, incident.acknowledgements, incident.event_ids) == ("ended", 1, ["e1"])
    assert [(entry.action, entry.status) for entry in sandbox.requests()] == [
        ("trigger", 202),
        ("acknowledge", 202),
        ("resolve", 202),
        ("change", 202),
    ]


async def test_a_key_that_none_has_is_an_error_of_it(
    sandbox: Sandbox, trust: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    client = pagerduty.EventsApiV2Client("b" * 32, base_url=sandbox.url, verify=trust[1])
    with pytest.raises(pagerduty.HttpError) as error:
        await asyncio.to_thread(client.trigger, "Summary", "source")
    assert error.value.response is not None
    assert error.value.response.status_code == 400


async def test_its_rest_client_finds_services_incidents_and_what_stands_in_the_way(
    sandbox: Sandbox, trust: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    events = pagerduty.EventsApiV2Client(KEY, base_url=sandbox.url, verify=trust[1])
    rest = pagerduty.RestApiV2Client(TOKEN, base_url=sandbox.url, verify=trust[1])
    for number in range(30):
        sandbox.pagerduty.services.of(f"{number:032}")
    service = sandbox.pagerduty.services.of(KEY)
    service.maintenance_until = 4102444800.0

    def look() -> dict[str, Any]:
        services = rest.list_all("services", params={"include[]": ["integrations"]})
        found = next(one for one in services if one["integrations"][0]["integration_key"] == KEY)
        assert rest.rget(f"/services/{found['id']}")["status"] == "maintenance"
        asked = {"filter": "ongoing", "service_ids[]": [found["id"]]}
        (window,) = rest.list_all("maintenance_windows", params=asked)
        assert window["end_time"] == "2100-01-01T00:00:00Z"
        events.trigger("Summary", "source", dedup_key="k")
        assert rest.list_all("incidents", params={"incident_key": "k"}) == []
        service.maintenance_until = None
        events.trigger("Summary", "source", dedup_key="k")
        (incident,) = rest.list_all("incidents", params={"incident_key": "k", "statuses[]": ["triggered"]})
        (alert,) = rest.list_all(f"incidents/{incident['id']}/alerts")
        assert alert["alert_key"] == "k"
        told: dict[str, Any] = incident
        return told

    incident = await asyncio.to_thread(look)
    assert (incident["status"], incident["incident_key"], incident["service"]["id"]) == ("triggered", None, service.id)
    stranger = pagerduty.RestApiV2Client("wrong", base_url=sandbox.url, verify=trust[1])
    with pytest.raises(pagerduty.Error):
        await asyncio.to_thread(stranger.list_all, "services")
