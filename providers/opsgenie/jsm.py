"""Jira Service Management, and Compass: a provider of its own beside OpsGenie, so that both can run at once.

Its integrations take what OpsGenie's take, as far as it goes: create, acknowledge, close, note. What they cannot do
goes through the cloud API where that is configured.
"""

import time
from collections.abc import Callable, Sequence

from providers.notification import Trigger
from providers.opsgenie.cloud import Cloud
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import JsmSettings
from providers.provider import Request


class Jsm(OpsGenie):
    """A `Provider`; see `OpsGenie`."""

    name = "jsm"

    def __init__(self, settings: JsmSettings, *, now: Callable[[], float] = time.time) -> None:
        cloud = None if settings.cloud is None else Cloud(settings.cloud, now=now)
        self._cloud = cloud
        super().__init__(settings, now=now)
        self.heartbeat = None if cloud is None else cloud.heartbeat_calls(settings.heartbeat)

    def _says_what_became(self) -> bool:
        return self._cloud is not None

    def _status(self, route: str, receipt: str, *, is_action: bool) -> Request:
        assert self._cloud is not None
        return self._cloud.status(receipt, is_action=is_action)

    def _raise(self, route: str, trigger: Trigger) -> Sequence[Request]:
        """The requests that show that the alert has become worse. Without the cloud API there are none: then only a
        note tells of it."""
        cloud = self._cloud
        if cloud is None:
            return ()
        priority, tags = self._payloads.priority(trigger), self._payloads.raised_tags(trigger)
        return (cloud.find(trigger.dedup_key, lambda id: (cloud.priority(id, priority), cloud.tags(id, tags))),)
