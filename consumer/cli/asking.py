"""Asking before something is changed that cannot be taken back."""

import argparse
import asyncio
import sys
from typing import Any

from consumer.cli.ending import UsageError


def add_arguments(parser: Any) -> None:
    """``--yes``, ``--dry-run`` and ``--json``, as every command has them that asks."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="for programs; needs --yes or --dry-run")


def require_somebody(args: argparse.Namespace) -> None:
    """Raises `UsageError` where it would have to be asked, and nobody can be."""
    if not (args.yes or args.dry_run) and (args.json or not sys.stdin.isatty()):
        raise UsageError("--yes: is needed where nobody can be asked (or --dry-run)")


async def agreed(what: str) -> bool:
    """Whether the person at the terminal wants that."""
    print(f"{what}? [y/N] ", end="", flush=True)
    answer = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip().lower() in ("y", "yes")
