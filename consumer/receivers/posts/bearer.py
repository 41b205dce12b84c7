"""Who may send events: whoever has one of the bearer tokens (RFC 6750, in the header only). Pure."""

import hashlib
import hmac
from collections.abc import Iterable

_SCHEME = "bearer "
_LONGEST = 4096
"""The most characters of a header that is looked at: no token of ours is longer."""


class Bearer:
    """Keeps the digests of the tokens, not the tokens. The time that a check takes gives no clue to any token."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [_digest(token) for token in tokens]

    def allows(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header (None: there is none) has one of the tokens."""
        if authorization is None or len(authorization) > _LONGEST:
            return False
        is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
        given = _digest(authorization[len(_SCHEME) :].strip())
        # Compare with all of them, so that the time does not tell which one fits.
        fits = [hmac.compare_digest(given, digest) for digest in self._digests]
        return is_bearer and any(fits)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
