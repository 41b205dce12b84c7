"""``clawdstrike-alerting sandbox``: runs only the sandbox: the providers' APIs, and a page that shows their
incidents."""

import argparse
from typing import Any

from providers.sandbox.serve import DESCRIPTION, add_options, serve


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "sandbox", help="providers that page nobody, and a page that shows what they got", description=DESCRIPTION
    )
    add_options(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 after SIGTERM or SIGINT. Raises `UserError` if the sandbox cannot listen on its address."""
    serve(args)
    return 0
