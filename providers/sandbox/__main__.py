"""``python -m providers.sandbox``: the sandbox in a process of its own, until SIGTERM or SIGINT.

Prints one line of JSON when it is ready: ``{"port": …, "url": …}``.
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence

from providers.sandbox.app import running_sandbox
from providers.sandbox.sandbox import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal says to end."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        pagerduty_keys=_keys(options.pagerduty_key),
        opsgenie_keys=_keys(options.opsgenie_key),
        pagerduty_rate=options.pagerduty_rate,
        opsgenie_rate=options.opsgenie_rate,
        count_refused=options.count_refused,
        heartbeats=frozenset(options.heartbeat),
        latency=options.latency,
        keep_requests=0 if options.light else options.keep_requests,
        keep_ended=options.keep_ended,
        jsm_full=options.jsm_full,
    )
    asyncio.run(_serve(settings, host=options.host, port=options.port))


async def _serve(settings: Settings, *, host: str, port: int) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    async with running_sandbox(settings, host=host, port=port) as sandbox:
        print(json.dumps({"port": int(sandbox.url.rpartition(":")[2]), "url": sandbox.url}), flush=True)
        await end.wait()


def _keys(given: list[str]) -> frozenset[str] | None:
    return frozenset(given) if given else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m providers.sandbox", description="Behaves like the real APIs.")
    parser.add_argument("--host", default="127.0.0.1")
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
    parser.add_argument("--jsm-full", action="store_true", help="below the JSM base also what is not documented there")
    return parser


if __name__ == "__main__":
    main()
