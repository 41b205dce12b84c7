"""Guards the sandbox against other web pages: only programs and the sandbox's own page may change something.

A browser says where a request comes from (``Origin``, ``Sec-Fetch-Site``); a program such as curl sends no such header.
But another page would be taken for ours if its host name resolved to this machine's address (DNS rebinding). So a
request from a browser has to name the sandbox by an IP address, by ``localhost``, or by the host that it listens on.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FROM_HERE = frozenset({"same-origin", "none"})


def is_own_host(host: str, listens_on: str) -> bool:
    """Whether a ``Host`` header, with or without a port, can mean only this sandbox."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", listens_on.lower()) or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def why_foreign(method: str, headers: Mapping[str, str], listens_on: str) -> str | None:
    """Why a request must not change anything; None if it may."""
    if method in SAFE_METHODS:
        return None
    if headers.get("Sec-Fetch-Site", "none") not in _FROM_HERE:
        return "it comes from another web page"
    origin = headers.get("Origin")
    if origin is None:
        return None
    host = headers.get("Host", "")
    if origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return "it comes from another web page"
    if not is_own_host(host, listens_on):
        return "from a browser, name the sandbox by its address or by localhost"
    return None
