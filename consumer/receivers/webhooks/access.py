"""Whose a webhook is: what each provider proves it by. All that is configured must be right. Pure, of constant time."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Protocol

from consumer.config import OpsGenieWebhooks, PagerDutyWebhooks
from consumer.receivers.posts.bearer import Bearer
from consumer.receivers.webhooks.client_credentials import ClientCredentials
from providers.pagerduty.webhook import SIGNATURE, is_signed

TOKEN_PARAMETER = "token"
"""The query parameter that holds the token, where a provider cannot send a header."""


class Access(Protocol):
    """Who may send. ``proves_by_head``: who sends has proved who he is as soon as the head is admitted."""

    proves_by_head: bool

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str], now: float) -> bool:
        """Whether the head of a request says nothing against it; ``now`` is in seconds since the epoch."""
        ...

    def allows(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the body is the provider's."""
        ...


class PagerDutyAccess:
    """Signatures, a token of OAuth2 client credentials, a header of one's own: each that is configured."""

    def __init__(self, settings: PagerDutyWebhooks) -> None:
        self._secrets = [secret.get_secret_value() for secret in settings.secrets]
        header, oauth = settings.header, settings.oauth
        self._header = None if header is None else (header.name, _digest(header.value.get_secret_value()))
        self.credentials = (
            None if oauth is None else ClientCredentials(oauth.client_id, oauth.client_secret.get_secret_value())
        )
        self.proves_by_head = header is not None or oauth is not None

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str], now: float) -> bool:
        """Whether header and token are right, and there is a signature."""
        if self._secrets and SIGNATURE not in headers:
            return False
        if self.credentials is not None and not self.credentials.allows(headers.get("Authorization"), now):
            return False
        if self._header is None:
            return True
        name, digest = self._header
        return hmac.compare_digest(_digest(headers.get(name, "")), digest)

    def allows(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the body is signed, if there are secrets."""
        return not self._secrets or is_signed(body, headers.get(SIGNATURE), self._secrets)


class TokenAccess:
    """A token, as ``Authorization: Bearer`` or in the address."""

    proves_by_head = True

    def __init__(self, settings: OpsGenieWebhooks) -> None:
        assert settings.token is not None
        self._bearer = Bearer([settings.token.get_secret_value()])

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str], now: float) -> bool:
        """Whether the request has the right token."""
        given = headers.get("Authorization") or f"Bearer {query.get(TOKEN_PARAMETER, '')}"
        return self._bearer.allows(given)

    def allows(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Returns True: the head of the request has already proved whose it is."""
        return True


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
