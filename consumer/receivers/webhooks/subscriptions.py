"""Whether the provider sends webhooks at all: a subscription that it has disabled is noticed, and enabled again.

One that somebody has switched off is noticed only: that was on purpose.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from providers.pagerduty.webhook_rest import Subscription
from providers.webhook import LookupFailed

EVERY_SECONDS = 3600.0

_PORTS = {"https": 443, "http": 80}


class Subscriptions(Protocol):
    """Asks the provider about its webhook subscriptions, as `providers.pagerduty.webhook_rest.WebhookRest` does. Both
    methods raise `LookupFailed` if the provider's API does not answer as it should."""

    async def subscriptions(self) -> Sequence[Subscription]:
        """All webhook subscriptions of the account."""
        ...

    async def enable(self, subscription: Subscription) -> None:
        """Enable a disabled subscription, so that webhooks are sent to it again."""
        ...


def goes_to(path: str, public_address: str | None) -> Callable[[str], bool]:
    """Tells of an address whether it is this receiver's: that of this ``path`` below ``public_address``, compared as a
    whole (but for a query, which may hold a token).

    Where the receiver does not know how it is reached, an address that ends with ``path`` may be its own.
    """
    if public_address is None:
        return lambda url: ((found := _parts(url)) is not None) and found[-1].endswith(path)
    ours = _parts(public_address.rstrip("/") + path)
    return lambda url: _parts(url) == ours


def _parts(url: str) -> tuple[str, str, int | None, str] | None:
    """The parts by which two addresses are compared; None if the text is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme), parts.path
    except ValueError:
        return None


class SubscriptionWatch:
    """Looks at the receiver's webhook subscriptions at the start and then once an hour. ``is_ours`` tells whether an
    address is the receiver's. With ``enable_again``, a subscription that PagerDuty has disabled is enabled again."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        is_ours: Callable[[str], bool],
        log: FilteringBoundLogger,
        *,
        enable_again: bool,
    ) -> None:
        self._subscriptions = subscriptions
        self._is_ours = is_ours
        self._log = log
        self._enable_again = enable_again
        self._disabled: Sequence[Subscription] = ()
        self._off: Sequence[Subscription] = ()

    @property
    def notes(self) -> Sequence[str]:
        """What somebody should know, a sentence for each subscription that is sent nothing."""
        return [
            *(f"PagerDuty has disabled webhook subscription {one.id}" for one in self._disabled),
            *(f"PagerDuty webhook subscription {one.id} is switched off" for one in self._off),
        ]

    async def run(self, every: float = EVERY_SECONDS) -> None:
        """Look again and again until cancelled. Raises nothing but the cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Look once."""
        try:
            found = [one for one in await self._subscriptions.subscriptions() if self._is_ours(one.url)]
        except LookupFailed as error:
            self._log.warning("webhook_subscriptions_unknown", error=str(error))
            return
        if not found:
            self._log.warning("webhook_subscription_missing")
        self._off = [one for one in found if one.is_off]
        disabled = [one for one in found if one.is_disabled and not one.is_off]
        for one in self._off:
            self._log.warning("webhook_subscription_off", subscription=one.id)
        for one in disabled:
            self._log.warning("webhook_subscription_disabled", subscription=one.id)
        self._disabled = [one for one in disabled if not (self._enable_again and await self._enable(one))]

    async def _enable(self, one: Subscription) -> bool:
        try:
            await self._subscriptions.enable(one)
        except LookupFailed as error:
            self._log.warning("webhook_subscription_not_enabled", subscription=one.id, error=str(error))
            return False
        self._log.info("webhook_subscription_enabled", subscription=one.id)
        return True
