"""Removes secrets from texts that are shown: from providers' answers, and from the log."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[secret]"

SHORTEST: Final = 8
"""A secret is looked for only if it has at least so many characters. A shorter one is part of many ordinary words: with
it cut out, these would be unreadable, and what they lack would betray the secret."""


class Mask:
    """Replaces secrets by `REDACTED`, also where a text spells them differently (JSON, percent-encoding, …)."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= SHORTEST for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if spellings else None

    def __call__(self, text: str) -> str:
        """The text without the secrets. Shorten a text only afterwards: half a secret would not be recognised."""
        return text if self._secret is None or len(text) < SHORTEST else self._secret.sub(REDACTED, text)


def _spellings(secret: str) -> Iterator[str]:
    """The forms in which a text may repeat a secret: unchanged, in a repr, in JSON, in a URL, in HTML."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.replace("/", "\\/")
    yield quote(secret, safe="", errors="replace")
    yield html.escape(secret)
