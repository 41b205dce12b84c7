"""``clawdstrike-alerting demo``: the whole service on this machine, with a summary that is checked."""

import argparse
import asyncio
import math
from typing import Any

from rich.console import Console

from consumer.cli.interrupts import Interrupts
from consumer.demo.broker import EmbeddedBrokerMissing
from consumer.demo.demo import DemoError, Options, run_demo
from consumer.demo.engine import EngineMissing

INSTALL = "pip install 'clawdstrike-alerting[demo]'"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "demo",
        help="run everything on this machine, and check the result",
        description=(
            "Starts an embedded Kafka broker, a sandbox of the providers and the real service, lets scripted agents "
            "work under the real policy engine, and checks that the sandbox received exactly what the events "
            "demanded. Ctrl-C ends the traffic early and goes on with the summary; a second one leaves at once."
        ),
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=60.0, metavar="N", help="length of the traffic (default 60)"
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running after the summary, until Ctrl-C")
    parser.add_argument("--open", action="store_true", help="open the sandbox's page in a browser")
    parser.add_argument(
        "--bootstrap-servers",
        type=_servers,
        metavar="HOST:PORT",
        help="a Kafka of your own instead of the embedded broker; topics and groups get names of their own, and are "
        "deleted at the end",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 if the check passed, 1 if it did not or the demo could not run."""
    options = Options(
        seconds=args.seconds, keep=args.keep, open_page=args.open, bootstrap_servers=args.bootstrap_servers
    )
    run = _Run()
    run.interrupts.catch()
    try:
        return 0 if asyncio.run(run.demo(options)) else 1
    except (EngineMissing, EmbeddedBrokerMissing) as error:
        raise DemoError(f"the demo needs more packages: {INSTALL} ({error})") from error
    except asyncio.CancelledError as error:
        raise DemoError("stopped: nothing was checked") from error
    finally:
        run.interrupts.ignore()


class _Run:
    """A running demo, and its reaction to the user's signals."""

    def __init__(self) -> None:
        self.interrupts = Interrupts()
        self._passed: bool | None = None

    async def demo(self, options: Options) -> bool:
        """Run the demo. Returns whether the check passed."""
        stopping = asyncio.Event()
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def leave() -> None:
            if self._passed is None:  # after the check the demo is ending anyway, and the result of the check counts
                task.cancel()

        self.interrupts.tell(
            ask=lambda: loop.call_soon_threadsafe(stopping.set),
            force=lambda: loop.call_soon_threadsafe(leave),
        )
        return await run_demo(options, Console(), stopping, self._checked)

    def _checked(self, passed: bool) -> None:
        self._passed = passed


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a number of seconds, more than 0")
    return value


def _servers(text: str) -> str:
    for server in text.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise argparse.ArgumentTypeError("must be host:port, or several with commas between them")
    return text
