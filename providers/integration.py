"""An integration: a key at a host. Several routes can share one (design section 13), and an alert is found again by it,
whatever its route is called (design section 18)."""

import hashlib
import secrets
from typing import Final
from urllib.parse import urlsplit

_DIGEST_BYTES: Final = 8
_RANDOM_BYTES: Final = 16
_PORTS: Final = {"http": 80, "https": 443}

CHECKED: Final = "clawdstrike-alerting-check-"
"""How the names begin of alerts that are ended only to find out whether a key works."""


def digest(address: str, key: str) -> str:
    """What names the integration: short, the same after a restart, and telling nothing of the key.

    ``address`` is that of any call: only its host counts (with its port, if that is not the protocol's own), since
    paths change with gateways. It stands in the state. A provider's keys are random (PagerDuty's 32 hexadecimal
    digits, OpsGenie's UUIDs): to find one by its digest some 2^122 would have to be tried, and 64 bits of it do not
    say which of the 2^58 that have the same digest it is. Whoever has a key can see that it is the one.
    """
    return hashlib.blake2b(
        key.encode(), digest_size=_DIGEST_BYTES, person=b"integration", salt=_salt(address)
    ).hexdigest()


def random_name() -> str:
    """The dedup key, or alias, of an alert that does not exist: 128 random bits; a fixed name could be an agent's."""
    return f"{CHECKED}{secrets.token_hex(_RANDOM_BYTES)}"


def retired_route(integration: str) -> str:
    """The name of the route through which only acknowledges and resolves go to an integration whose key is retired."""
    return f"retired:{integration}"


def _salt(address: str) -> bytes:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return hashlib.blake2b(host.encode(), digest_size=hashlib.blake2b.SALT_SIZE).digest()
