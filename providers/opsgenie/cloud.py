"""Atlassian's cloud API for alerts: what the integrations of Jira Service Management and of Compass cannot do.

https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v2/ (alerts, heartbeats);
https://developer.atlassian.com/cloud/compass/ has the same calls below another base. By id only, which is looked up by
the alias of an open alert, and with the API token of a person or a service account.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from providers.answer import Accepted, Answer, Rejected, Throttled, Unavailable
from providers.classification import THROTTLED, Reasons, accepted, classify_status, json_object
from providers.notify import NO_SUCH_ALERT
from providers.opsgenie.request_status import read_status
from providers.opsgenie.settings import CloudSettings, JsmHeartbeatSettings
from providers.provider import HeartbeatCalls, Request

_DONE: Final = frozenset({200, 202})


class Cloud:
    """The calls about alerts and heartbeats. What goes wrong here says nothing of the integration's key."""

    def __init__(self, settings: CloudSettings, *, now: Callable[[], float] = time.time) -> None:
        token = settings.token.get_secret_value()
        credentials = b64encode(f"{settings.email}:{token}".encode()).decode()
        self._headers: Mapping[str, str] = {"Authorization": f"Basic {credentials}"}
        self._reasons = Reasons((token, credentials))
        self._now = now
        base = settings.api_endpoint.rstrip("/")
        match settings.product:
            case "jsm":
                self._base = f"{base}/jsm/ops/api/{settings.cloud_id}/v1"
            case "compass":
                self._base = f"{base}/compass/cloud/{settings.cloud_id}/ops/v1"

    def find(self, alias: str, then: Callable[[str], Sequence[Request]]) -> Request:
        """Look up the id of the open alert with this alias; ``then`` makes the requests about it."""
        url = f"{self._base}/alerts/alias?{urlencode({'alias': alias}, quote_via=quote, safe='')}"
        return Request(
            "GET", url, self._headers, is_action=True, read=self._read_alert, followed_by=then, is_beside=True
        )

    def priority(self, id: str, priority: str) -> Request:
        """A request that sets the priority of the alert: ``P1`` … ``P5``."""
        return self._act("PATCH", f"alerts/{quote(id, safe='')}/priority", {"priority": priority})

    def tags(self, id: str, tags: Sequence[str]) -> Request:
        """A request that adds tags to those that the alert has."""
        return self._act("POST", f"alerts/{quote(id, safe='')}/tags", {"tags": [*tags]})

    def status(self, receipt: str, *, is_action: bool) -> Request:
        """A request that asks what has become of an earlier one."""
        url = f"{self._base}/alerts/requests/{quote(receipt, safe='')}"
        return Request("GET", url, self._headers, read=partial(self._read_status, is_action=is_action))

    def heartbeat_calls(self, heartbeat: JsmHeartbeatSettings) -> HeartbeatCalls | None:
        """What the settings ask for; None if the heartbeat is not enabled.

        A ping is answered whether or not there is such a heartbeat. It is documented as ``GET``, and as ``POST``
        elsewhere: where the one is answered by 405, the other is tried.
        """
        if not heartbeat.enabled:
            return None
        beats = f"{self._base}/teams/{quote(heartbeat.team_id or '', safe='')}/heartbeats"
        ping = f"{beats}/ping?{urlencode({'name': heartbeat.name}, quote_via=quote, safe='')}"
        return HeartbeatCalls(
            heartbeat.name,
            heartbeat.interval_minutes * 60,
            ping=Request("GET", ping, self._headers, read=self._read_done),
            ping_status=202,
            ping_otherwise=Request("POST", ping, self._headers, read=self._read_done),
            exists=Request("GET", beats, self._headers, read=partial(self._read_heartbeats, heartbeat.name)),
            exists_status=200,
            read=self._reasons.read,
        )

    def _act(self, method: str, path: str, body: Mapping[str, Any]) -> Request:
        url = f"{self._base}/{path}"
        return Request(method, url, self._headers, body, is_action=True, read=self._read_done, is_beside=True)

    # what answers mean

    def _read_done(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return accepted(headers) if status in _DONE else self._otherwise(status, headers, body)

    def _read_alert(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        if status != 200:
            return self._otherwise(status, headers, body)
        id = (json_object(body) or {}).get("id")
        if not isinstance(id, str) or not id:
            return Rejected(status, "the alert that was looked up has no id")
        return Accepted(receipt=id)

    def _read_status(self, status: int, headers: Mapping[str, str], body: bytes, *, is_action: bool) -> Answer:
        if status == NO_SUCH_ALERT:  # how "not yet" is told from "never" is not documented here
            return Unavailable(status, self._reasons.read(status, body))
        answer = read_status(status, headers, body, is_action=is_action, reasons=self._reasons, now=self._now())
        return _own_limit(answer)

    def _read_heartbeats(self, name: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Whether the heartbeat is among those of the team. Where there are more of them than in this answer, it is
        believed to be."""
        if status != 200:
            return self._otherwise(status, headers, body)
        said = json_object(body) or {}
        beats, links = said.get("values"), said.get("links")
        names = [beat.get("name") for beat in beats if isinstance(beat, dict)] if isinstance(beats, list) else []
        if name in names or (isinstance(links, dict) and links.get("next")):
            return accepted(headers)
        return Rejected(NO_SUCH_ALERT, f"the team has no heartbeat {name}")

    def _otherwise(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return _own_limit(classify_status(status, headers, self._reasons.read(status, body), self._now()))


def _own_limit(answer: Answer) -> Answer:
    """A limit of this API is none of the integration's, through which pages go on."""
    return Unavailable(THROTTLED, answer.reason, answer.retry_after) if isinstance(answer, Throttled) else answer
