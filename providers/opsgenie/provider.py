"""OpsGenie, Alert API v2: requests, and what the answers mean. `providers.opsgenie.jsm` has the same for its successor.

https://docs.opsgenie.com/docs/alert-api, https://docs.opsgenie.com/docs/response
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from providers.answer import Accepted, Answer, RouteRefused, Throttled
from providers.classification import Reasons, classify_status, header, http_date, json_object, seconds_of
from providers.integration import DEFAULT_ROUTE, digest, random_name, retired_route
from providers.notification import Acknowledge, Notification, Resolve, Trigger
from providers.opsgenie.heartbeat import heartbeat_calls
from providers.opsgenie.payload import Payloads
from providers.opsgenie.request_status import read_status
from providers.opsgenie.settings import AlertSettings, is_jira_service_management
from providers.provider import HeartbeatCalls, Request, Verify
from providers.rate import Rate
from state.violation import Violation


class OpsGenie:
    """A `Provider` with one route for triggers: who is notified is a matter of responders, not of keys.

    ``now`` gives seconds since the epoch, for answers that say when to come back by a date.
    """

    name = "opsgenie"
    key_limit = 512
    documented_rate = Rate(10, 20)
    shares_alerts = True

    def __init__(self, settings: AlertSettings, *, now: Callable[[], float] = time.time) -> None:
        self._alerts = f"{settings.api_endpoint.rstrip('/')}/v2/alerts"
        in_use, retired = settings.api_key, settings.retired_api_keys
        by_route = {DEFAULT_ROUTE: in_use}
        by_route.update((retired_route(digest(self._alerts, key.get_secret_value())), key) for key in retired)
        self._headers = {route: authorization(key) for route, key in by_route.items()}
        self._integrations = {route: digest(self._alerts, key.get_secret_value()) for route, key in by_route.items()}
        self._payloads = Payloads(settings)
        self._reasons = Reasons(key.get_secret_value() for key in by_route.values())
        self._is_jsm = is_jira_service_management(settings.api_endpoint)
        self._verify = settings.verify if self._says_what_became() else False
        self._now = now
        self.routes: Sequence[str] = tuple(by_route)
        self.retired_routes: Sequence[str] = self.routes[1:]
        self.heartbeat: HeartbeatCalls | None = heartbeat_calls(settings, authorization(in_use), self._reasons.read)

    def route_of(self, violation: Violation) -> str:
        """Returns ``default``, whatever the event."""
        return DEFAULT_ROUTE

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route: through ``default``, and nothing else."""
        return route == DEFAULT_ROUTE

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """The requests of a notification; any ``route`` that there is not means ``default``.

        A trigger is always a create: it counts up an alert that is open, and opens one again that somebody closed.
        Since a create leaves the fields of an open alert as they were, a trigger that is said again adds a note, and
        one of a higher severity sets the priority first, and adds its tag. (The integrations of Jira Service Management
        have no such calls: there the note alone tells of it.)
        """
        match notification:
            case Trigger(dedup_key):
                return self._trigger(route, dedup_key, notification)
            case Acknowledge(dedup_key):
                return (self._end_or_take(route, dedup_key, "acknowledge", "Acknowledged"),)
            case Resolve(dedup_key):
                return (self._end_or_take(route, dedup_key, "close", "Resolved"),)

    def _trigger(self, route: str, dedup_key: str, trigger: Trigger) -> Sequence[Request]:
        body = self._payloads.create(trigger)
        verify = self._verified(route, is_action=False) if self._verify else None
        requests = [Request("POST", self._alerts, self._authorization(route), body, verify=verify)]
        if trigger.again and trigger.raised:
            requests += self._raise(route, trigger)
        if trigger.again:
            requests.append(self._act(route, dedup_key, "notes", self._payloads.note(trigger)))
        return requests

    def _raise(self, route: str, trigger: Trigger) -> Sequence[Request]:
        """The requests that show at an alert that it has become worse, besides a note."""
        if self._is_jsm:
            return ()
        priority = {"priority": self._payloads.priority(trigger)}
        tags = {"tags": self._payloads.raised_tags(trigger), "user": self._payloads.user, "source": self._payloads.user}
        return (
            self._act(route, trigger.dedup_key, "priority", priority, method="PUT"),
            self._act(route, trigger.dedup_key, "tags", tags),
        )

    def _end_or_take(self, route: str, dedup_key: str, what: str, done: str) -> Request:
        request = self._act(route, dedup_key, what, self._payloads.action(f"{done} by {self._payloads.user}"))
        return replace(request, verify=self._verified(route, is_action=True)) if self._verify is True else request

    def _verified(self, route: str, *, is_action: bool) -> Verify:
        return Verify(partial(self._status, route, is_action=is_action), always=self._verify is True)

    def _says_what_became(self) -> bool:
        """Whether the API can be asked what has become of a request."""
        return not self._is_jsm

    def _status(self, route: str, receipt: str, *, is_action: bool) -> Request:
        """A request that asks what has become of an earlier one."""
        url = f"{self._alerts}/requests/{path_segment(receipt)}"
        return Request("GET", url, self._authorization(route), read=partial(self._read_status, is_action=is_action))

    def _read_status(self, status: int, headers: Mapping[str, str], body: bytes, *, is_action: bool) -> Answer:
        return read_status(status, headers, body, is_action=is_action, reasons=self._reasons, now=self._now())

    def _act(self, route: str, dedup_key: str, what: str, body: Mapping[str, Any], *, method: str = "POST") -> Request:
        url = f"{self._alerts}/{path_segment(dedup_key)}/{what}?identifierType=alias"
        return Request(method, url, self._authorization(route), body, is_action=True)

    def _authorization(self, route: str) -> Mapping[str, str]:
        return self._headers.get(route) or self._headers[DEFAULT_ROUTE]

    def integration_of(self, route: str) -> str:
        """A digest of the API key and the address."""
        return self._integrations.get(route) or self._integrations[DEFAULT_ROUTE]

    def check(self, route: str) -> Request:
        """The close of an alert that cannot exist: a read would pass with keys that may not create."""
        return self._act(route, random_name(), "close", self._payloads.action(f"Checked by {self._payloads.user}"))

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means: 202 is accepted, whatever the body says.

        A wrong key is answered by 401, or by 422 when it has not even the form of one.
        """
        if status == 202:
            return Accepted(http_date(header(headers, "Date")), _receipt(body) if self._verify else None)
        reason = self._reasons.read(status, body)
        if status == 401 or _refuses_key(body):
            return RouteRefused(status, reason)
        answer = classify_status(status, headers, reason, self._now())
        if isinstance(answer, Throttled) and answer.retry_after is None:
            return replace(answer, retry_after=seconds_of(header(headers, "X-RateLimit-Period-In-Sec")))
        return answer


def _receipt(body: bytes) -> str | None:
    """The id by which the status of the request can be asked for."""
    receipt = (json_object(body) or {}).get("requestId")
    return receipt if isinstance(receipt, str) and receipt else None


def _refuses_key(body: bytes) -> bool:
    """Whether the answer refuses the key. Only its message tells that: ``errors`` can quote what the event said."""
    said = json_object(body)
    return said is not None and "key format is not valid" in str(said.get("message")).lower()


def authorization(key: SecretStr) -> Mapping[str, str]:
    """The header that every call with this API key needs."""
    return {"Authorization": f"GenieKey {key.get_secret_value()}"}


def path_segment(text: str) -> str:
    """Text as one segment of a path, percent-encoded; also the dots of ``..``, which would lead out of it."""
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if not encoded.strip(".") else encoded
