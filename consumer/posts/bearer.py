"""Who may send: whoever has one of the tokens (RFC 6750, in the header only). Pure."""

import hashlib
import hmac
from collections.abc import Iterable

_SCHEME = "bearer "
_LONGEST = 4096
"""Characters of a header that can be one of ours: a longer one is not looked at."""


class Bearer:
    """Knows the digests of the tokens, not the tokens. How long an answer takes tells nothing about any of them."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [_digest(token) for token in tokens]

    def allows(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header (None: there is none) has one of the tokens."""
        if authorization is None or len(authorization) > _LONGEST:
            return False
        is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
        given = _digest(authorization[len(_SCHEME) :].strip())
        # All of them, whichever it is.
        fits = [hmac.compare_digest(given, digest) for digest in self._digests]
        return is_bearer and any(fits)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
