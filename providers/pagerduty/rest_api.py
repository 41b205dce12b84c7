"""PagerDuty's REST API v2: one question, and the pages of a list.

https://developer.pagerduty.com/docs/rest-api-v2/rest-api/ and https://developer.pagerduty.com/docs/pagination.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from pydantic import SecretStr

from providers.answer import Accepted, Answer, Rejected
from providers.classification import accepted, classify_status, json_object
from providers.notify import Sender
from providers.provider import Request

LARGEST_ANSWER: Final = 4 * 1024 * 1024

Json = Mapping[str, Any]


class RestError(Exception):
    """There is no answer, or none that can be read: one line, without the token."""


class RestApi:
    """Asks ``base`` (an address) with a token. ``reason`` gives the text of an answer that is none, without secrets."""

    def __init__(self, base: str, token: SecretStr, reason: Callable[[int, bytes], str]) -> None:
        self._base = base.rstrip("/")
        self._headers = {
            "Authorization": f"Token token={token.get_secret_value()}",
            "Accept": "application/vnd.pagerduty+json;version=2",
        }
        self._reason = reason

    async def ask(
        self,
        sender: Sender,
        path: str,
        query: Mapping[str, str],
        timeout: float,
        *,
        method: str = "GET",
        absent: Collection[int] = (),
    ) -> Json:
        """The answer's object; an empty one for a status by which there is no such thing (``absent``). ``timeout`` is
        in seconds. Raises `RestError` if the API refuses the request, or if there is no answer that can be read."""
        url = f"{self._base}{path}{'?' if query else ''}{urlencode(query)}"
        said: list[bytes] = []

        def classify(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
            if 200 <= status < 300:
                said.append(body)
                return accepted(headers)
            return classify_status(status, headers, self._reason(status, body), 0.0)

        request = Request(method, url, headers=self._headers, largest_answer=LARGEST_ANSWER)
        answer = await sender.send(request, classify, timeout)
        if isinstance(answer, Rejected) and answer.status in absent:
            return {}
        if not isinstance(answer, Accepted):
            raise RestError(f"{method} {path}: {answer.reason}")
        found = json_object(said[0])
        if found is None:
            raise RestError(f"{method} {path}: the answer cannot be read")
        return found

    async def pages(
        self,
        sender: Sender,
        path: str,
        name: str,
        query: Mapping[str, str],
        timeout: float,
        *,
        size: int,
        at_most: int,
        absent: Collection[int] = (),
    ) -> AsyncIterator[Json]:
        """The entries of a list, which the answer has by this ``name``: ``size`` at a time, of ``at_most`` pages.
        Raises `RestError` if the API refuses the request, or if there is no answer that can be read."""
        for page in range(at_most):
            asked = {**query, "limit": str(size), "offset": str(page * size)}
            found = await self.ask(sender, path, asked, timeout, absent=absent)
            entries = list(objects(found, name))
            for entry in entries:
                yield entry
            if found.get("more") is not True or not entries:
                return


def objects(found: Json, name: str) -> Iterator[Json]:
    """The objects of a list in an answer; none where it has no such list."""
    entries = found.get(name)
    yield from (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
