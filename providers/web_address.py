"""Addresses that come from outside: accepted only if they can do no harm.

Whoever provokes a violation can choose such an address. If it is no plain https address, it could run a script in the
browser of whoever clicks it, hide its host behind credentials, or make the provider reject the whole notification.
"""

import re
from typing import Final
from urllib.parse import quote

ADDRESS_LIMIT: Final = 2048
"""The most characters of an address. Beyond that, browsers and providers differ in what they accept."""

_AUTHORITY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
# https://www.rfc-editor.org/rfc/rfc3986#section-3.3 to 3.5
_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
_QUERY = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
_HTTPS = re.compile(rf"[Hh][Tt][Tt][Pp][Ss]://{_AUTHORITY}(?:/{_PATH})?(?:\?{_QUERY})?(?:#{_QUERY})?")
_OTHER_LETTERS = re.compile(r"[^\x00-\x7f]+")


def https_address(text: str) -> str | None:
    """The text if it is an absolute https address without credentials, else None; letters beyond ASCII are encoded."""
    if len(text) > ADDRESS_LIMIT or not text.isprintable():
        return None
    address = _OTHER_LETTERS.sub(lambda letters: quote(letters[0]), text)
    return address if len(address) <= ADDRESS_LIMIT and _HTTPS.fullmatch(address) else None
