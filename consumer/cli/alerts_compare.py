"""``alerts compare --provider A --with B``: what is open at one of two providers only, as a service moves."""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from consumer.cli.alert_facts import facts
from consumer.cli.alerts_found import Found, show_alerts, worst_first
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.terminal import counted, show_json
from consumer.cli.with_configuration import UsageError
from consumer.config import Config
from state.alert import Alert, Status


def add_compare(actions: Any) -> argparse.ArgumentParser:
    """Declare ``alerts compare``, and give its parser."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "compare",
        help="what is open at one of two providers only",
        description="What is open at one of two providers only, as their states say. Exit code 1 if there is any.",
    )
    add_provider(parser, required=True, help="the one, e.g. the old one")
    add_provider(parser, "--with", dest="other", required=True, help="the other")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def compared(args: argparse.Namespace, config: Config) -> list[str]:
    """The names of the two providers to compare.

    Raises `UsageError` if they are one, if one is not configured, or if a problem has another key at the one than at
    the other.
    """
    both = [args.provider, args.other]
    if args.provider == args.other:
        raise UsageError("--with: is the same provider as --provider")
    for name in both:
        if name not in config.sections:
            raise not_configured(name)
    one, other = (config.sections[name].deduplication.key_template for name in both)
    if one != other:
        raise UsageError(
            f"exporters.alerting.{args.other}.deduplication.key_template: is {other}, and {one} at {args.provider}: "
            "a problem has two keys, and cannot be compared"
        )
    return both


def compare(args: argparse.Namespace, found: Sequence[Found]) -> int:
    """Print the alerts that are open at one of the two providers only. Returns the exit code: 1 if there is any."""
    there: dict[str, set[str]] = {}
    for one in found:
        if _may_be_open(one.alert):
            there.setdefault(one.alert.dedup_key, set()).add(one.provider)
    alone = [one for one in found if _may_be_open(one.alert) and len(there[one.alert.dedup_key]) == 1]
    meant = worst_first(alone)
    if args.json:
        show_json([facts(one) for one in meant])
    else:
        if meant:
            show_alerts(meant, time.time(), is_orphaned_at_shown=False)
        for name in (args.provider, args.other):
            keys = {one.alert.dedup_key for one in meant if one.provider == name}
            print(f"{counted(len(keys), 'alert')} open at {name} only")
        print(f"{counted(sum(len(names) > 1 for names in there.values()), 'alert')} open at both")
    return 1 if meant else 0


def _may_be_open(alert: Alert) -> bool:
    """Whether the provider has it, or may have it still; what is owed, and was never told, is not there yet."""
    return alert.is_at_provider or alert.unsettled or alert.status is Status.RESOLVING
