"""Shout's requests, and what its answers mean."""

from collections.abc import Mapping, Sequence

from providers.answer import Accepted, Answer
from providers.classification import Reasons, classify_status
from providers.integration import digest, random_name
from providers.notification import Notification
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from state.violation import Violation
from tests.support.shout.settings import ShoutSettings


class Shout:
    """A `Provider` with one route."""

    name = "shout"
    key_limit = 100
    documented_rate = Rate(1, 10)
    shares_alerts = False
    heartbeat: HeartbeatCalls | None = None
    routes: Sequence[str] = ("default",)
    retired_routes: Sequence[str] = ()

    def __init__(self, settings: ShoutSettings) -> None:
        self._url = settings.api_endpoint
        self._token = settings.token.get_secret_value()
        self._reasons = Reasons([self._token])

    def knows(self, route: str) -> bool:
        return route == "default"

    def route_of(self, violation: Violation) -> str:
        return "default"

    def integration_of(self, route: str) -> str:
        return digest(self._url, self._token)

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        body = {"what": type(notification).__name__.lower(), "key": notification.dedup_key}
        return [Request("POST", f"{self._url}/shout", {"X-Token": self._token}, body)]

    def check(self, route: str) -> Request:
        return Request(
            "POST", f"{self._url}/shout", {"X-Token": self._token}, {"what": "resolve", "key": random_name()}
        )

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        if status == 200:
            return Accepted()
        return classify_status(status, headers, self._reasons.read(status, body), 0.0)
