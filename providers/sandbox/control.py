"""The sandbox's control interface for other processes: ``/_sandbox/…`` over HTTP, like `Sandbox` in Python."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from providers.sandbox.faults import FAULT_JSON
from providers.sandbox.guard import SAFE_METHODS, why_foreign
from providers.sandbox.sandbox import Sandbox
from providers.sandbox.webhooks import Mischief, SandboxSubscription

PREFIX = "/_sandbox/"

ProviderName = Literal["pagerduty", "opsgenie", "jsm"]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RequestsAsked(_Asked):
    provider: ProviderName | None = None
    key: str | None = None
    dedup_key: str | None = None
    action: str | None = None
    status: int | None = None
    after: int = 0


class _IncidentsAsked(_Asked):
    provider: ProviderName | None = None
    dedup_key: str | None = None
    only: Literal["open", "extra"] | None = None


class _CloseAsked(_Asked):
    provider: ProviderName
    dedup_key: str
    key: str | None = None


class _KeysAsked(_Asked):
    provider: ProviderName
    revoke: Annotated[list[str], Field(default_factory=list)]
    malformed: bool = False
    restore: Annotated[list[str], Field(default_factory=list)]


class _AcknowledgeAsked(_Asked):
    provider: ProviderName
    dedup_key: str


class _SubscriptionAsked(_Asked):
    provider: ProviderName
    url: str
    secret: str | None = None
    token: str | None = None
    names_keys: bool = True


class _MischiefAsked(_Asked):
    lost: float = Field(default=0.0, ge=0, le=1)
    doubled: float = Field(default=0.0, ge=0, le=1)
    late: float = Field(default=0.0, ge=0)


class Control:
    """The control interface of one sandbox, which listens on ``host``."""

    def __init__(self, sandbox: Sandbox, *, host: str) -> None:
        self._sandbox = sandbox
        self._host = host
        self._calls: Mapping[tuple[str, str], Callable[[str, bytes], Any]] = {
            ("GET", "requests"): self._requests,
            ("GET", "incidents"): self._incidents,
            ("GET", "counts"): lambda query, body: self._sandbox.counts(),
            ("GET", "faults"): lambda query, body: {"faults": [one.as_json() for one in self._sandbox.faults.armed()]},
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "close"): self._close,
            ("POST", "acknowledge"): self._acknowledge,
            ("GET", "webhooks"): self._webhooks,
            ("POST", "webhooks"): self._subscribe,
            ("POST", "webhooks/mischief"): self._mischief,
            ("POST", "keys"): self._keys,
            ("POST", "reset"): self._reset,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a request to ``/_sandbox/…``."""
        path, _, query = request.raw_path.partition("?")
        name = path.removeprefix(PREFIX)
        why = why_foreign(request.method, request.headers, self._host)
        if why is not None:
            return _json(403, {"error": why})
        try:
            return self._answer(request.method, name, query, await request.read())
        finally:
            if request.method not in SAFE_METHODS:
                self._sandbox.changed()

    def _answer(self, method: str, name: str, query: str, body: bytes) -> web.Response:
        call = self._calls.get((method, name))
        if call is None and method == "DELETE" and name.startswith("faults/"):
            return self._remove_fault(name.removeprefix("faults/"))
        if call is None:
            return _json(404, {"error": f"no {method} {PREFIX}{name}"})
        try:
            return _json(200, call(query, body))
        except ValidationError as error:
            return _json(400, {"error": str(error)})

    def _requests(self, query: str, body: bytes) -> Any:
        asked = _RequestsAsked.model_validate(dict(parse_qsl(query)))
        return {"requests": self._sandbox.requests(**asked.model_dump())}

    def _incidents(self, query: str, body: bytes) -> Any:
        asked = _IncidentsAsked.model_validate(dict(parse_qsl(query)))
        incidents = self._sandbox.incidents(asked.provider, dedup_key=asked.dedup_key)
        match asked.only:
            case "open":
                incidents = [one for one in incidents if one.open]
            case "extra":
                incidents = [one for one in incidents if one.extra is not None]
        return {"incidents": incidents}

    def _close(self, query: str, body: bytes) -> Any:
        asked = _CloseAsked.model_validate_json(body)
        return {"closed": self._sandbox.close(asked.provider, asked.dedup_key, key=asked.key)}

    def _acknowledge(self, query: str, body: bytes) -> Any:
        asked = _AcknowledgeAsked.model_validate_json(body)
        return {"acknowledged": self._sandbox.acknowledge(asked.provider, asked.dedup_key)}

    def _webhooks(self, query: str, body: bytes) -> Any:
        names = ("id", "provider", "what", "dedup_key", "answers")
        return {"webhooks": [{name: getattr(one, name) for name in names} for one in self._sandbox.webhooks.sent]}

    def _subscribe(self, query: str, body: bytes) -> Any:
        asked = _SubscriptionAsked.model_validate_json(body)
        self._sandbox.webhooks.subscribe(SandboxSubscription(**asked.model_dump()))
        return {}

    def _mischief(self, query: str, body: bytes) -> Any:
        asked = _MischiefAsked.model_validate_json(body)
        self._sandbox.webhooks.mischief = Mischief(**asked.model_dump())
        return {}

    def _keys(self, query: str, body: bytes) -> Any:
        asked = _KeysAsked.model_validate_json(body)
        keys = self._sandbox.keys(asked.provider)
        for key in asked.revoke:
            keys.revoke(key, malformed=asked.malformed)
        for key in asked.restore:
            keys.restore(key)
        return {}

    def _reset(self, query: str, body: bytes) -> Any:
        self._sandbox.reset()
        return {}

    def _add_fault(self, query: str, body: bytes) -> Any:
        return self._sandbox.faults.add(FAULT_JSON.validate_json(body)).as_json()

    def _clear_faults(self, query: str, body: bytes) -> Any:
        self._sandbox.faults.clear()
        return {}

    def _remove_fault(self, id: str) -> web.Response:
        armed = self._sandbox.faults.get(int(id)) if id.isdecimal() else None
        if armed is None:
            return _json(404, {"error": "no such fault is in force"})
        armed.remove()
        return _json(200, armed.as_json())


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
