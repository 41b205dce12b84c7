"""The HTTP application of the way back: webhooks, the token that one provider asks for first, and a probe."""

import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.receivers.posts.body import read_body
from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.one_line import one_line
from consumer.receivers.posts.refusal import RequestRefused, busy, line
from consumer.receivers.posts.room import NoRoom
from consumer.receivers.webhooks.client_credentials import TOKEN_SECONDS, ClientCredentials
from consumer.receivers.webhooks.handler import WebhookHandler, WebhookSender
from consumer.telemetry.server import verdict_of

PATH = "/v1/webhooks/"
TOKEN_PATH = "/v1/webhooks/oauth/token"
_LARGEST_FORM = 4096


def create_app(
    handler: WebhookHandler,
    senders: Sequence[WebhookSender],
    credentials: ClientCredentials | None,
    connections: Connections,
    log: FilteringBoundLogger,
) -> web.Application:
    """``POST /v1/webhooks/<provider>`` of each sender; with ``credentials`` also ``POST /v1/webhooks/oauth/token``; and
    ``/healthz``, which says that it answers, and nothing else: anybody may be there."""

    def route_of(sender: WebhookSender) -> web.RouteDef:
        async def post(request: web.Request) -> web.StreamResponse:
            return await handler.post(request, sender)

        return web.post(f"{PATH}{sender.provider}", post)

    async def always(_: web.Request) -> web.Response:
        return verdict_of((), {})

    async def token(request: web.Request) -> web.Response:
        assert credentials is not None
        try:
            with connections.unproved_body(connections.of(request)) as unproved:
                form = await read_body(request, unproved, _LARGEST_FORM)
        except NoRoom:
            raise busy("too much is being received", closes=True) from None
        try:
            given = dict(parse_qsl(form.decode(errors="replace"), max_num_fields=20))
        except ValueError:
            raise RequestRefused(400, "invalid_request") from None
        client_id, client_secret = _client(request.headers, given)
        issued = credentials.issue(client_id, client_secret, time.time())
        if issued is None:
            raise RequestRefused(401, "invalid_client", closes=True, headers={"WWW-Authenticate": "Basic"})
        if given.get("grant_type") != "client_credentials":
            raise RequestRefused(400, "unsupported_grant_type")
        return line(200, {"access_token": issued, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})

    app = web.Application(middlewares=[one_line(connections, log, f"webhooks are posted to {PATH}<provider>")])
    app.add_routes([*map(route_of, senders), web.get("/healthz", always)])
    if credentials is not None:
        app.add_routes([web.post(TOKEN_PATH, token)])
    return app


def _client(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:
    """Id and secret, from the header or the form (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return "", ""
        return unquote(id), unquote(secret)
    return form.get("client_id", ""), form.get("client_secret", "")
