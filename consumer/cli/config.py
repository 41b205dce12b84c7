"""``config reference|schema``: all settings of a configuration, for people and for editors."""

import argparse
from importlib.resources import files
from typing import Any

from consumer.cli.terminal import show_json


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "config", help="print every setting as an example, or as a JSON Schema"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser(
        "reference",
        help="a configuration with every setting, its default and what it does",
        description="Prints a configuration with every setting, its default and what it does.",
    )
    actions.add_parser(
        "schema",
        help="a JSON Schema, by which editors complete and check a configuration",
        description="Prints a JSON Schema. Editors with a YAML language server take it by a first line such as "
        "`# yaml-language-server: $schema=schema.json`.",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, which is always 0."""
    if args.action == "reference":
        print((files("consumer.config") / "reference.yaml").read_text(encoding="utf-8"), end="")
    else:
        from consumer.config.json_schema import json_schema  # imports the models, which takes a moment

        show_json(json_schema())
    return 0
