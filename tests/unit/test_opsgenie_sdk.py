"""OpsGenie's official Python client (``opsgenie-sdk`` 2.1.5, generated from their OpenAPI) drives the sandbox.

What we took from the pages of the API, somebody else has written down as well. (It is from 2021, and runs on Python
3.11 and later as it is.)
"""

import asyncio
from collections.abc import Callable
from typing import Any

import opsgenie_sdk
import pytest

from providers.sandbox import FailLater, Fault, Sandbox, SandboxSettings, running_sandbox

pytestmark = pytest.mark.slow

KEY = "0f1e2d3c-opsgenie-key"


def client(url: str, key: str = KEY) -> Any:
    configuration = opsgenie_sdk.configuration.Configuration()
    configuration.host = url
    configuration.api_key["Authorization"] = key
    configuration.retry_enabled = False
    return opsgenie_sdk.ApiClient(configuration=configuration)


async def driven(drive: Callable[[Any], Any], *faults: Fault, key: str = KEY) -> tuple[Any, Sandbox]:
    """What the client, which waits for its answers in a thread, makes of the sandbox."""
    known = SandboxSettings(opsgenie_keys=frozenset({KEY}), heartbeats=frozenset({"prod"}))
    async with running_sandbox(known) as sandbox:
        for fault in faults:
            sandbox.faults.add(fault)
        return await asyncio.to_thread(drive, client(sandbox.url, key)), sandbox


async def test_the_life_of_an_alert() -> None:
    def drive(client: Any) -> Any:
        alerts = opsgenie_sdk.AlertApi(api_client=client)
        create = opsgenie_sdk.CreateAlertPayload(
            message="[secret_leak] key", alias="a/b", description="d", responders=[{"name": "dlp", "type": "team"}],
            visible_to=[{"name": "dlp", "type": "team"}], actions=["isolate"], tags=["env:prod"],
            details={"event_id": "e1"}, entity="config.yaml", source="clawdstrike-agent-7", priority="P2",
            user="clawdstrike-alerting", note="Runbook",
        )  # fmt: skip
        by_alias = {"identifier": "a/b", "identifier_type": "alias"}
        answers = [alerts.create_alert(create_alert_payload=create)]
        shown = alerts.get_alert(**by_alias).data
        note = opsgenie_sdk.AddNoteToAlertPayload(note="again", user="u", source="s")
        answers.append(alerts.add_note(add_note_to_alert_payload=note, **by_alias))
        priority = opsgenie_sdk.UpdateAlertPriorityPayload(priority="P1")
        answers.append(alerts.update_alert_priority(update_alert_priority_payload=priority, **by_alias))
        tags = opsgenie_sdk.AddTagsToAlertPayload(tags=["severity:critical"], user="u")
        answers.append(alerts.add_tags(add_tags_to_alert_payload=tags, **by_alias))
        answers.append(alerts.acknowledge_alert(**by_alias))
        answers.append(alerts.close_alert(**by_alias))
        statuses = [alerts.get_request_status(request_id=answer.request_id).data for answer in answers]
        return shown, statuses

    (shown, statuses), sandbox = await driven(drive)
    assert (shown.alias, shown.status, shown.priority, shown.count) == ("a/b", "open", "P2", 1)
    assert (shown.message, shown.entity, shown.source) == ("[secret_leak] key", "config.yaml", "clawdstrike-agent-7")
    assert [status.is_success for status in statuses] == [True] * 6
    assert {status.alert_id for status in statuses} == {shown.id}
    (alert,) = sandbox.incidents("opsgenie")
    assert (alert.status, alert.severities) == ("ended", ["P2", "P1"])
    assert alert.notes == ["Runbook", "again"]
    assert alert.tags == ["env:prod", "severity:critical"]
    assert alert.acknowledgements == 1


async def test_what_failed_later_and_what_is_not_there() -> None:
    def drive(client: Any) -> Any:
        alerts = opsgenie_sdk.AlertApi(api_client=client)
        failed = alerts.create_alert(create_alert_payload=opsgenie_sdk.CreateAlertPayload(message="m", alias="a"))
        unknown = alerts.close_alert(identifier="nobody", identifier_type="alias")
        return [alerts.get_request_status(request_id=answer.request_id).data for answer in (failed, unknown)]

    statuses, sandbox = await driven(drive, Fault(FailLater("Team is over its limit"), action="create"))
    assert [(status.is_success, status.status) for status in statuses] == [
        (False, "Team is over its limit"),
        (False, "Alert does not exist"),
    ]
    assert sandbox.incidents() == []


async def test_a_heartbeat_and_a_wrong_key() -> None:
    def ping(client: Any) -> Any:
        beats = opsgenie_sdk.HeartbeatApi(api_client=client)
        return beats.ping("prod").result, beats.get_heartbeat("prod").data.name

    (pong, name), sandbox = await driven(ping)
    assert (pong, name) == ("PONG - Heartbeat received", "prod")
    assert sandbox.opsgenie.pings == {"prod": 1}

    def create(client: Any) -> Any:
        with pytest.raises(opsgenie_sdk.exceptions.AuthenticationException) as caught:
            opsgenie_sdk.AlertApi(api_client=client).create_alert(
                create_alert_payload=opsgenie_sdk.CreateAlertPayload(message="m")
            )
        return caught.value

    error, _ = await driven(create, key="another-key")
    assert error.status == 401
