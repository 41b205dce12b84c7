"""The sandbox on a socket: the way of a request, top to bottom, and the faults that it can meet."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web
from multidict import CIMultiDict

from providers.sandbox.call import Call, Received, Reply
from providers.sandbox.control import PREFIX, Control
from providers.sandbox.faults import (
    AddHeaders,
    Delay,
    Drop,
    Effect,
    FailLater,
    FaultyAnswer,
    Hang,
    LandLate,
    LoseAnswer,
)
from providers.sandbox.journal import JournalEntry
from providers.sandbox.latency import Latency
from providers.sandbox.page import Page
from providers.sandbox.sandbox import Sandbox, SandboxSettings

SHUTDOWN_SECONDS = 0.1
"""How long the end of the sandbox waits for answers that are on their way."""


class App:
    """Carries requests to a sandbox and its answers back.

    A handler is cancelled when its client disconnects. A request that lands late must take effect even then, so it is
    a task of its own, which the app owns until `close`.
    """

    def __init__(self, sandbox: Sandbox, *, host: str) -> None:
        self._sandbox = sandbox
        self._control = Control(sandbox, host=host)
        self._page = Page(sandbox, host=host)
        self._latency = Latency(sandbox.settings.latency)
        self._late: set[asyncio.Task[Reply]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Read, journal, fault, apply, answer. Requests to the page and to the control interface go another way."""
        address = request.raw_path
        if Page.serves(address):
            return await self._page.handle(request)
        if address.startswith(PREFIX):
            return await self._control.handle(request)
        received = Received(method=request.method, address=address, headers=request.headers, body=await _body(request))
        call, entry = self._sandbox.receive(received)
        effect = self._sandbox.faults.strike(call)
        if effect is None:
            reply: Reply | None = self._sandbox.apply(call, entry)
        else:
            self._sandbox.journal.struck(entry, effect.kind)
            reply = await self._suffer(effect, call, entry)
        if reply is None:
            return _cut(request)
        await self._latency.pass_by()
        self._sandbox.answered(entry, reply.status)
        headers = CIMultiDict({"Content-Type": reply.content_type})
        headers.extend(reply.headers)
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def close(self) -> None:
        """Cancel the requests that have not landed yet."""
        self._page.close()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _suffer(self, effect: Effect, call: Call, entry: JournalEntry) -> Reply | None:
        """Let a fault happen; None means that the connection is to be cut."""
        match effect:
            case FaultyAnswer():
                if effect.applied:
                    self._sandbox.apply(call, entry)
                if effect.delay:
                    await asyncio.sleep(effect.delay)
                return effect.reply()
            case Delay(seconds):
                reply = self._sandbox.apply(call, entry)
                await asyncio.sleep(seconds)
                return reply
            case LandLate(seconds):
                task = asyncio.create_task(self._land(seconds, call, entry))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return await asyncio.shield(task)
            case AddHeaders(headers):
                reply = self._sandbox.apply(call, entry)
                more: CIMultiDict[str] = CIMultiDict(reply.headers)
                for name, value in headers:
                    more.add(name, value)
                return replace(reply, headers=more)
            case FailLater(status):
                call.fails_with = status
                return self._sandbox.apply(call, entry)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case LoseAnswer():
                self._sandbox.apply(call, entry)
            case Drop():
                pass
        return None

    async def _land(self, seconds: float, call: Call, entry: JournalEntry) -> Reply:
        await asyncio.sleep(seconds)
        return self._sandbox.apply(call, entry)


@asynccontextmanager
async def running_sandbox(
    settings: SandboxSettings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Sandbox]:
    """Serve a sandbox until the block ends, by https if ``ssl_context`` is given. Port 0 means any free port."""
    sandbox = Sandbox(settings)
    app = App(sandbox, host=host)
    runner = web.ServerRunner(
        web.Server(app.handle, handler_cancellation=True, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=ssl_context, backlog=1024).start()
        scheme = "http" if ssl_context is None else "https"
        sandbox.url = f"{scheme}://{host}:{runner.addresses[0][1]}"
        async with sandbox.webhooks.sending():
            yield sandbox
    finally:
        await app.close()
        await runner.cleanup()


async def _body(request: web.BaseRequest) -> bytes | None:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return None


def _cut(request: web.BaseRequest) -> web.Response:
    """Close the connection at once. The returned answer is never sent: aiohttp requires a handler to return one."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
