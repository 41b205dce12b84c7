"""An integration: a key at an address. Several routes can share one (design section 13)."""

import hashlib
import secrets
from typing import Final

_DIGEST_BYTES: Final = 8
_RANDOM_BYTES: Final = 16

CHECKED: Final = "clawdstrike-alerting-check-"
"""How the names begin of alerts that are ended only to find out whether a key works."""


def digest(address: str, key: str) -> str:
    """What names the integration: short, the same after a restart, and telling nothing of the key."""
    return hashlib.blake2b(
        key.encode(), digest_size=_DIGEST_BYTES, person=b"integration", salt=_salt(address)
    ).hexdigest()


def random_name() -> str:
    """The dedup key, or alias, of an alert that does not exist: 128 random bits; a fixed name could be an agent's."""
    return f"{CHECKED}{secrets.token_hex(_RANDOM_BYTES)}"


def _salt(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=hashlib.blake2b.SALT_SIZE).digest()
