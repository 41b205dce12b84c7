"""What a provider's webhook says, whichever provider it is (design section 20). Pure: bytes in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from state.provider_feedback import Happened


@dataclass(frozen=True, slots=True)
class Said:
    """Something has happened to an incident. ``dedup_key`` is None where the webhook has only the incident's id; ``by``
    is who did it, for people."""

    dedup_key: str | None
    it: Happened
    by: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is the provider's, and says nothing of concern here: ``kind`` is ``ping``, ``merge`` or ``unknown_type``."""

    kind: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """It cannot be read; ``reason`` repeats nothing of it."""

    reason: str


class ReadWebhook(Protocol):
    """Reads the body of a webhook."""

    def __call__(self, body: bytes) -> Said | Nothing | Malformed: ...


class LookupFailed(Exception):
    """The provider has not said which alerts an incident has: to be asked again. Its text is for people."""


class DedupKeys(Protocol):
    """Looks up the dedup keys of an incident: what a webhook without one needs (``pagerduty.rest_token``)."""

    async def dedup_keys(self, incident: str) -> Sequence[str]:
        """The dedup keys of all alerts of the incident, which can be several, or none. Raises `LookupFailed` if the
        provider has not told them."""
        ...
