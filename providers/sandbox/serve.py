"""Serves the sandbox in a process of its own until SIGTERM or SIGINT: its options, and what it prints when ready."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from providers.errors import UserError
from providers.sandbox.app import running_sandbox
from providers.sandbox.sandbox import SandboxSettings
from providers.sandbox.webhooks import SandboxSubscription

DESCRIPTION = (
    "Behaves like the real APIs of PagerDuty, OpsGenie and Jira Service Management, and pages nobody. Its page shows "
    "what they would show, "
    "/_sandbox/ is for programs. When it is ready it prints where it is: for people on a terminal, else one line of "
    'JSON, {"port": …, "url": …}.'
)


class SandboxNotServed(UserError):
    """The sandbox cannot be served; the text says why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the sandbox's options."""
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; default: this machine only")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--pagerduty-key", action="append", default=[], help="a known routing key; default: all")
    parser.add_argument("--opsgenie-key", action="append", default=[], help="a known API key; default: all")
    parser.add_argument("--pagerduty-rate", type=int, help="calls a minute and key; default: any number")
    parser.add_argument("--opsgenie-rate", type=int, help="calls a minute and key; default: any number")
    parser.add_argument("--count-refused", action="store_true", help="calls answered 429 count in that minute too")
    parser.add_argument("--heartbeat", action="append", default=[], help="name of a heartbeat that exists")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--keep-requests", type=int, help="how many requests are remembered; default: all")
    parser.add_argument("--keep-ended", type=int, help="how many ended incidents are remembered; default: all")
    parser.add_argument("--light", action="store_true", help="for benchmarks: counts and incidents only")
    parser.add_argument("--jsm-key", action="append", default=[], help="a known API key there; default: all")
    parser.add_argument("--webhooks", metavar="URL", help="send webhooks below this address, /pagerduty and /opsgenie")
    parser.add_argument("--webhooks-secret", metavar="SECRET", help="sign PagerDuty's with it; OpsGenie's bearer token")
    parser.add_argument("--jsm-full", action="store_true", help="below the JSM base also what is not documented there")
    parser.add_argument("--processing", type=float, default=0.0, help="seconds until a request has a status")


def serve(options: argparse.Namespace) -> None:
    """Serve until a signal says to end. Raises `SandboxNotServed` if it cannot listen."""
    settings = SandboxSettings(
        pagerduty_keys=_keys(options.pagerduty_key),
        opsgenie_keys=_keys(options.opsgenie_key),
        pagerduty_rate=options.pagerduty_rate,
        opsgenie_rate=options.opsgenie_rate,
        count_refused=options.count_refused,
        heartbeats=frozenset(options.heartbeat),
        latency=options.latency,
        keep_requests=0 if options.light else options.keep_requests,
        keep_ended=options.keep_ended,
        jsm_keys=_keys(options.jsm_key),
        jsm_full=options.jsm_full,
        processing=options.processing,
    )
    subscriptions = _subscriptions(options.webhooks, options.webhooks_secret)
    asyncio.run(_serve(settings, subscriptions, host=options.host, port=options.port))


def _subscriptions(base: str | None, secret: str | None) -> list[SandboxSubscription]:
    if base is None:
        return []
    base = base.rstrip("/")
    return [
        SandboxSubscription(provider="pagerduty", url=f"{base}/pagerduty", secret=secret),
        SandboxSubscription(provider="opsgenie", url=f"{base}/opsgenie", token=secret),
    ]


async def _serve(
    settings: SandboxSettings, subscriptions: Sequence[SandboxSubscription], *, host: str, port: int
) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    try:
        async with running_sandbox(settings, host=host, port=port) as sandbox:
            for subscription in subscriptions:
                sandbox.webhooks.subscribe(subscription)
            print(_ready(sandbox.url, for_people=sys.stdout.isatty()), flush=True)
            await end.wait()
    except (OSError, OverflowError) as error:  # OverflowError: an impossible port number
        raise SandboxNotServed(f"cannot listen on {host}:{port}: {error}") from error


def _ready(url: str, *, for_people: bool) -> str:
    if not for_people:
        return json.dumps({"port": int(url.rpartition(":")[2]), "url": url})
    return f"page     {url}/\nAPIs     api_endpoint: {url}\ncontrol  curl {url}/_sandbox/incidents\nCtrl-C ends it."


def _keys(given: list[str]) -> frozenset[str] | None:
    return frozenset(given) if given else None
