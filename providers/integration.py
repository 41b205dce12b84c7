"""An integration: a key at a provider's host. Several routes can share one (design section 13). An alert's incident is
found by its integration, whatever the route is called (design section 18)."""

import hashlib
import secrets
from typing import Final
from urllib.parse import urlsplit

_DIGEST_BYTES: Final = 8
_RANDOM_BYTES: Final = 16
_PORTS: Final = {"http": 80, "https": 443}

DEFAULT_ROUTE: Final = "default"
"""The name of the route that is taken where no other route fits."""

CHECKED: Final = "clawdstrike-alerting-check-"
"""The prefix of the dedup key or alias by which a key is checked: no alert has that name."""


def digest(address: str, key: str) -> str:
    """The digest that identifies an integration: short, the same after a restart, and without a clue to the key.

    ``address`` is the address of any call. Only its host counts (with the port, if that is not the protocol's default),
    since paths change with gateways. The digest is written to the state. A provider's keys are random (PagerDuty's 32
    hexadecimal digits, OpsGenie's UUIDs): to find a key by its digest, some 2^122 keys would have to be tried, and 2^58
    of them have the same 64 bits. But whoever has a key can see that the digest is that key's.
    """
    return hashlib.blake2b(
        key.encode(), digest_size=_DIGEST_BYTES, person=b"integration", salt=_salt(address)
    ).hexdigest()


def random_name() -> str:
    """A dedup key, or alias, of no existing alert: 128 random bits. An agent could bring about an alert with a fixed
    name."""
    return f"{CHECKED}{secrets.token_hex(_RANDOM_BYTES)}"


def retired_route(integration: str) -> str:
    """The name of the route to an integration whose key is retired; only acknowledges and resolves go through it."""
    return f"retired:{integration}"


def _salt(address: str) -> bytes:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return hashlib.blake2b(host.encode(), digest_size=hashlib.blake2b.SALT_SIZE).digest()
