"""What the way back asks of PagerDuty's REST API: the keys of an incident's alerts, and whether webhooks are sent.

Source: https://developer.pagerduty.com/api-reference: "List alerts for an incident", "List webhook subscriptions",
"Enable a webhook subscription". Needs a REST token; enabling one, a token that may write.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from providers.classification import Reasons
from providers.notify import Sender
from providers.pagerduty.rest_api import Json, RestApi, RestError
from providers.webhook import LookupFailed

PAGE: Final = 10
"""How many entries of a list are asked for at once. An alert can have a long body, and so at most ten are read at a
time."""

MOST_PAGES: Final = 20

_NO_SUCH_THING: Final = 404


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook subscription. ``is_disabled``: PagerDuty sends it nothing for a while, as its webhooks were refused;
    ``is_off``: nor will it after that, since somebody has switched it off."""

    id: str
    url: str
    is_disabled: bool
    is_off: bool = False


class WebhookRest:
    """Asks ``base`` (an address) with a token; ``timeout`` is in seconds, for each request."""

    def __init__(self, sender: Sender, base: str, token: SecretStr, timeout: float) -> None:
        self._sender = sender
        self._timeout = timeout
        self._api = RestApi(base, token, Reasons([token.get_secret_value()]).read)

    async def dedup_keys(self, incident: str) -> Sequence[str]:
        """The dedup keys of all alerts of the incident; none if there is no such incident. Raises `LookupFailed` if the
        provider's API does not answer as it should."""
        keys = [
            one.get("alert_key") async for one in self._all(f"/incidents/{quote(incident, safe='')}/alerts", "alerts")
        ]
        return list(dict.fromkeys(key for key in keys if isinstance(key, str) and key))

    async def subscriptions(self) -> Sequence[Subscription]:
        """All webhook subscriptions of the account. Raises `LookupFailed` if the provider's API does not answer as it
        should."""
        found = []
        async for one in self._all("/webhook_subscriptions", "webhook_subscriptions"):
            method, id = one.get("delivery_method"), one.get("id")
            url = method.get("url") if isinstance(method, dict) else None
            if isinstance(method, dict) and isinstance(url, str) and isinstance(id, str):
                is_disabled = method.get("temporarily_disabled") is True
                found.append(Subscription(id, url, is_disabled, is_off=one.get("active") is False))
        return found

    async def enable(self, subscription: Subscription) -> None:
        """Enable a disabled subscription, so that webhooks are sent to it again. Raises `LookupFailed` if the
        provider's API does not answer as it should."""
        path = f"/webhook_subscriptions/{quote(subscription.id, safe='')}/enable"
        try:
            await self._api.ask(self._sender, path, {}, self._timeout, method="POST")
        except RestError as error:
            raise LookupFailed(str(error)) from None

    async def _all(self, path: str, name: str) -> AsyncIterator[Json]:
        """The entries of a list; none where there is no such thing. Raises `LookupFailed` if the provider's API does
        not answer as it should."""
        try:
            async for entry in self._api.pages(
                self._sender, path, name, {}, self._timeout, size=PAGE, at_most=MOST_PAGES, absent=(_NO_SUCH_THING,)
            ):
                yield entry
        except RestError as error:
            raise LookupFailed(str(error)) from None
