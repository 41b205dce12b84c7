"""Takes secrets out of texts that are shown: what a provider has answered, and what is logged."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[secret]"

SHORTEST: Final = 8
"""Characters of a secret that is looked for. A shorter one stands in many words, which would not be readable, and what
had been taken out of them would tell it."""


class Mask:
    """Replaces secrets, however they are spelt, by `REDACTED`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= SHORTEST for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if spellings else None

    def __call__(self, text: str) -> str:
        """The text without them. It is to be cut afterwards: half a secret would not be recognised."""
        return text if self._secret is None or len(text) < SHORTEST else self._secret.sub(REDACTED, text)


def _spellings(secret: str) -> Iterator[str]:
    """The ways in which a text may repeat a secret: as it is, in a repr, in JSON, in an address, in a page."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.replace("/", "\\/")
    yield quote(secret, safe="", errors="replace")
    yield html.escape(secret)
