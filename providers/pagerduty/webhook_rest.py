"""What the way back asks of PagerDuty's REST API: the keys of an incident's alerts, and whether webhooks are sent.

Source: https://developer.pagerduty.com/api-reference: "List alerts for an incident", "List webhook subscriptions",
"Enable a webhook subscription". Needs a REST token; enabling one, a token that may write.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from pydantic import SecretStr

from providers.answer import Accepted, Answer, Rejected
from providers.classification import Reasons, accepted, classify_status, json_object
from providers.notify import Sender
from providers.provider import Request
from providers.webhook import LookupFailed

PAGE: Final = 10
"""Entries of a list that are asked for at once: an alert can have a long body, and no more is read than that of ten."""

MOST_PAGES: Final = 20

_NO_SUCH_THING: Final = 404


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook subscription. ``is_disabled``: PagerDuty sends it nothing, for a while or until it is enabled."""

    id: str
    url: str
    is_disabled: bool


class WebhookRest:
    """Asks ``base`` (an address) with a token; ``timeout`` is in seconds, for each request."""

    def __init__(self, sender: Sender, base: str, token: SecretStr, timeout: float) -> None:
        self._sender = sender
        self._base = base.rstrip("/")
        self._timeout = timeout
        self._headers = {
            "Authorization": f"Token token={token.get_secret_value()}",
            "Accept": "application/vnd.pagerduty+json;version=2",
        }
        self._reasons = Reasons([token.get_secret_value()])

    async def dedup_keys(self, incident: str) -> Sequence[str]:
        """Those of all alerts of the incident; none if there is no such incident. Raises `LookupFailed`."""
        keys = [
            one.get("alert_key") async for one in self._all(f"/incidents/{quote(incident, safe='')}/alerts", "alerts")
        ]
        return list(dict.fromkeys(key for key in keys if isinstance(key, str) and key))

    async def subscriptions(self, path: str) -> Sequence[Subscription]:
        """The subscriptions whose webhooks go to an address with this path. Raises `LookupFailed`."""
        found = []
        async for one in self._all("/webhook_subscriptions", "webhook_subscriptions"):
            method, id = one.get("delivery_method"), one.get("id")
            url = method.get("url") if isinstance(method, dict) else None
            if not isinstance(method, dict) or not isinstance(url, str) or not isinstance(id, str):
                continue
            if urlsplit(url).path.endswith(path):
                is_disabled = method.get("temporarily_disabled") is True or one.get("active") is False
                found.append(Subscription(id, url, is_disabled))
        return found

    async def enable(self, subscription: Subscription) -> None:
        """Let it be sent again. Raises `LookupFailed`."""
        await self._ask("POST", f"/webhook_subscriptions/{quote(subscription.id, safe='')}/enable")

    async def _all(self, path: str, name: str) -> AsyncIterator[Mapping[str, Any]]:
        for page in range(MOST_PAGES):
            found = await self._ask("GET", path, {"limit": str(PAGE), "offset": str(page * PAGE)})
            entries = found.get(name)
            entries = entries if isinstance(entries, list) else []
            for entry in entries:
                if isinstance(entry, dict):
                    yield entry
            if found.get("more") is not True or not entries:
                return

    async def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The answer's object; an empty one where there is no such thing."""
        said: list[bytes] = []

        def classify(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
            if 200 <= status < 300:
                said.append(body)
                return accepted(headers)
            return classify_status(status, headers, self._reasons.read(status, body), 0.0)

        url = f"{self._base}{path}{'?' if query else ''}{urlencode(query or {})}"
        answer = await self._sender.send(Request(method, url, headers=self._headers), classify, self._timeout)
        if isinstance(answer, Rejected) and answer.status == _NO_SUCH_THING and method == "GET":
            return {}
        if not isinstance(answer, Accepted):
            raise LookupFailed(f"{method} {path}: {answer.reason}")
        found = json_object(said[0])
        if found is None:
            raise LookupFailed(f"{method} {path}: the answer cannot be read")
        return found
