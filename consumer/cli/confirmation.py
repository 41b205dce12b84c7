"""Asks the user before a command changes something that cannot be undone."""

import argparse
import asyncio
import sys
from typing import Any

from consumer.cli.with_configuration import UsageError


def add_arguments(parser: Any) -> None:
    """Add ``--yes``, ``--dry-run`` and ``--json``, which every command has that asks."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs; needs --yes or --dry-run")


def require_somebody(args: argparse.Namespace) -> None:
    """Raises `UsageError` if the command would have to ask, and nobody is there to answer."""
    if not (args.yes or args.dry_run) and (args.json or not sys.stdin.isatty()):
        raise UsageError("--yes: is needed where nobody can be asked (or --dry-run)")


async def agreed(what: str) -> bool:
    """Ask the person at the terminal. Returns whether the answer is yes."""
    print(f"{what}? [y/N] ", end="", flush=True)
    answer = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip().lower() in ("y", "yes")
