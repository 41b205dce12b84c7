"""Answers the page's requests: its files, its stream of server-sent events, one incident, and its buttons."""

import asyncio
import secrets
import time
from importlib.resources import files
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from providers.sandbox.guard import is_own_host, why_foreign
from providers.sandbox.outage import How, ProviderName, SandboxOutages
from providers.sandbox.page import shown
from providers.sandbox.sandbox import Sandbox

PREFIX = "/_sandbox/page/"
TOKEN_HEADER = "X-Sandbox-Token"

FILES = {
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(("page.js", "incident.js", "provider.js", "traffic.js", "dom.js"), "text/javascript"),
}
"""The files below ``static/`` that a browser may ask for, and their types."""

HEADERS = {
    # The browser loads and runs only files of this server, no other page may frame this one, and no text can become
    # markup: browsers that know trusted types refuse every assignment of text as markup.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of every answer to the page."""

MOST_STREAMS = 32
"""How many pages can have a stream at the same time."""

PAUSE_SECONDS = 0.2
"""The least seconds between two events of a stream: all changes in between are sent together."""

STILL_SECONDS = 5.0
"""A stream gets an event after so many seconds, also if nothing has changed."""

_STATIC = files("providers.sandbox.page").joinpath("static")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Acknowledge(_Asked):
    do: Literal["acknowledge"]
    id: str


class _Resolve(_Asked):
    do: Literal["resolve"]
    id: str


class _Break(_Asked):
    do: Literal["break"]
    provider: ProviderName
    how: How


class _Mend(_Asked):
    do: Literal["mend"]
    provider: ProviderName


_ASKED: TypeAdapter[_Acknowledge | _Resolve | _Break | _Mend] = TypeAdapter(
    Annotated[_Acknowledge | _Resolve | _Break | _Mend, Field(discriminator="do")]
)


class Page:
    """The page of one sandbox, which listens on ``host``.

    A button's request has to carry a token that stands in the page: another web page cannot read it.
    """

    def __init__(self, sandbox: Sandbox, *, host: str, outages: SandboxOutages | None = None) -> None:
        self._sandbox = sandbox
        self._host = host
        self._outages = outages or SandboxOutages(sandbox)
        self._token = secrets.token_urlsafe(24)
        self._streams = 0

    @staticmethod
    def serves(address: str) -> bool:
        """Whether the address (path and query) is one of the page's."""
        path = address.partition("?")[0]
        return path == "/" or path.startswith(PREFIX)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to the page."""
        if not is_own_host(request.headers.get("Host", ""), self._host):
            return _text(421, "Name the sandbox by its address or by localhost.\n")
        name = request.raw_path.partition("?")[0].removeprefix(PREFIX)
        match request.method, name:
            case "POST", "do":
                return await self._do(request)
            case "GET", "stream":
                return await self._stream(request)
            case (("GET" | "HEAD"), "/"):
                return self._index()
            case (("GET" | "HEAD"), _) if name in FILES:
                return _answer(200, _STATIC.joinpath(name).read_bytes(), FILES[name])
            case "GET", _ if name.startswith("incidents/"):
                return self._incident(name.removeprefix("incidents/"))
        return _text(404, "There is no such thing here.\n")

    def state(self, *, since: int = 0, era: int | None = None) -> dict[str, Any]:
        """The state that the stream sends. ``since`` and ``era`` are the board's revision and era that it sent last."""
        sandbox = self._sandbox
        counts: dict[str, dict[str, int]] = sandbox.counts()["incidents"]
        now = asyncio.get_running_loop().time()
        names: tuple[ProviderName, ...] = ("pagerduty", "opsgenie")
        if sandbox.journal.outcomes("jsm") != (0, 0):
            names = (*names, "jsm")
        providers = [
            shown.provider(
                name,
                counts.get(name, {}),
                acknowledged=sandbox.acknowledged(name),
                outcomes=sandbox.journal.outcomes(name),
                outage=self._outages.of(name),
                now=now,
            )
            for name in names
        ]
        return shown.state(
            sandbox.board,
            since=since,
            whole=era != sandbox.board.era,
            integrations=sandbox.settings.integrations,
            opened=sum(one["opened"] for one in counts.values()),
            providers=providers,
            faults=self._outages.others(),
            now=time.time(),
        )

    def close(self) -> None:
        """End all outages, as the sandbox ends."""
        self._outages.close()

    def _index(self) -> web.Response:
        page = _STATIC.joinpath("index.html").read_text(encoding="utf-8")
        return _answer(200, page.replace("{{token}}", self._token).encode(), "text/html")

    def _incident(self, id: str) -> web.Response:
        card = self._sandbox.board.card(id)
        if card is None:
            return _json(404, {"error": "this incident is not on the page any more"})
        return _json(200, shown.detail(card, self._sandbox.settings.integrations))

    async def _do(self, request: web.BaseRequest) -> web.Response:
        why = why_foreign(request.method, request.headers, self._host)
        given = request.headers.get(TOKEN_HEADER, "")
        if why is None and not secrets.compare_digest(given.encode(), self._token.encode()):
            why = "the page is of an earlier run of the sandbox: load it again"
        if why is not None:
            return _json(403, {"error": why})
        try:
            asked = _ASKED.validate_json(await request.read())
        except ValidationError as error:
            return _json(400, {"error": str(error)})
        match asked:
            case _Acknowledge():
                done = self._sandbox.acknowledge_one(asked.id)
            case _Resolve():
                done = self._sandbox.resolve_one(asked.id)
            case _Break():
                self._outages.begin(asked.provider, asked.how)
                done = True
            case _Mend():
                done = self._outages.end(asked.provider)
        return _json(200, {"done": done})

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._streams >= MOST_STREAMS:
            return _text(503, "Too many pages look already.\n")
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        self._streams += 1
        try:
            with self._sandbox.looking() as changed:
                since, era = 0, None
                while True:
                    changed.clear()
                    state = self.state(since=since, era=era)
                    since, era = self._sandbox.board.revision, state["era"]
                    await response.write(b"data: " + orjson.dumps(state) + b"\n\n")
                    await asyncio.sleep(PAUSE_SECONDS)
                    await _set_within(changed, STILL_SECONDS)
        except ConnectionError:  # the browser has closed the connection
            return response
        finally:
            self._streams -= 1


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _json(status: int, value: Any) -> web.Response:
    return _answer(status, orjson.dumps(value), "application/json")


def _text(status: int, text: str) -> web.Response:
    return _answer(status, text.encode(), "text/plain")


def _answer(status: int, body: bytes, content_type: str) -> web.Response:
    charset = "" if content_type.startswith("image/") or content_type == "application/json" else "; charset=utf-8"
    return web.Response(status=status, body=body, headers={**HEADERS, "Content-Type": content_type + charset})
