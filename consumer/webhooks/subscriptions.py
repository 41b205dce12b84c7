"""Whether the provider sends webhooks at all: a subscription that it has disabled is noticed, and enabled again."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from providers.pagerduty.webhook_rest import Subscription
from providers.webhook import LookupFailed

EVERY_SECONDS = 3600.0


class Subscriptions(Protocol):
    """Asks the provider: `providers.pagerduty.webhook_rest.WebhookRest`. Both raise `LookupFailed`."""

    async def subscriptions(self, path: str) -> Sequence[Subscription]:
        """Those whose webhooks go to an address with this path."""
        ...

    async def enable(self, subscription: Subscription) -> None:
        """Let it be sent again."""
        ...


class SubscriptionWatch:
    """Looks each hour, and at start. ``path`` is that of the receiver; ``enable_again``: enable what is disabled."""

    def __init__(
        self, subscriptions: Subscriptions, path: str, log: FilteringBoundLogger, *, enable_again: bool
    ) -> None:
        self._subscriptions = subscriptions
        self._path = path
        self._log = log
        self._enable_again = enable_again
        self._disabled: Sequence[Subscription] = ()

    @property
    def notes(self) -> Sequence[str]:
        """What somebody should know, a sentence for each subscription that is disabled."""
        return [f"PagerDuty has disabled webhook subscription {one.id}" for one in self._disabled]

    async def run(self, every: float = EVERY_SECONDS) -> None:
        """Until cancelled. Raises nothing else."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Look once."""
        try:
            found = await self._subscriptions.subscriptions(self._path)
        except LookupFailed as error:
            self._log.warning("webhook_subscriptions_unknown", error=str(error))
            return
        disabled = [one for one in found if one.is_disabled]
        if not found:
            self._log.warning("webhook_subscription_missing", path=self._path)
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
