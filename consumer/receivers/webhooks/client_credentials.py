"""OAuth2 client credentials (RFC 6749, section 4.4) for a provider that wants a token before it sends. Pure.

A token is its end and a digest of that, with the secret. So each process that has the secret knows it, and none keeps
any: who asks one may send to another.
"""

import hashlib
import hmac
from typing import Final

TOKEN_SECONDS: Final = 3600
_CLOCK_SECONDS: Final = 60
"""How many seconds the clocks of two of our processes may differ."""

_SCHEME = "bearer "
_LONGEST = 4096


class ClientCredentials:
    """Issues tokens to the one client, and knows them again. Times are in seconds since the epoch."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self._id = client_id.encode()
        self._secret = client_secret.encode()

    def issue(self, client_id: str, client_secret: str, now: float) -> str | None:
        """A token, None if this is not the client. How long it takes tells nothing about the secret."""
        is_id = hmac.compare_digest(_digest(client_id), _digest(self._id))
        is_secret = hmac.compare_digest(_digest(client_secret), _digest(self._secret))
        if not (is_id and is_secret):
            return None
        until = int(now) + TOKEN_SECONDS
        return f"{until}.{self._proof(until)}"

    def allows(self, authorization: str | None, now: float) -> bool:
        """Whether an ``Authorization`` header (None: there is none) has a token that is not over."""
        if authorization is None or len(authorization) > _LONGEST or authorization[: len(_SCHEME)].lower() != _SCHEME:
            return False
        until, _, proof = authorization[len(_SCHEME) :].strip().partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        is_proof = hmac.compare_digest(proof.encode(errors="surrogatepass"), self._proof(int(until)).encode())
        return is_proof and now <= int(until) <= now + TOKEN_SECONDS + _CLOCK_SECONDS

    def _proof(self, until: int) -> str:
        return hmac.new(self._secret, b"%s.%d" % (self._id, until), hashlib.sha256).hexdigest()


def _digest(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass") if isinstance(text, str) else text).digest()
