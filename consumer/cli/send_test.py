"""``send-test --config FILE --provider P``: sends one real test notification, or resolves it."""

import argparse
import asyncio
import sys
import time
import uuid
from typing import Any, Final

from consumer.cli.arguments import add_config
from consumer.cli.ending import UsageError
from consumer.config import load_config
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.http import HttpSender, create_session
from providers.notification import Notification, Resolve, Story, Trigger
from providers.notify import deliver
from providers.provider import Provider
from providers.story import utc
from providers.table import PROVIDERS
from state.violation import Severity, Violation

DEDUP_KEY: Final = "clawdstrike-alerting:test"
"""The dedup key of the test notification; it is fixed, so that a second test updates the same incident."""

_REASON: Final = "TEST notification of clawdstrike-alerting: nothing has happened, nothing is to be done"


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "send-test",
        help="send one real test notification",
        description="Sends one real test notification, which notifies people as a real one would: with the severity "
        "of min_severity, in an incident or alert of its own. --resolve resolves that.",
    )
    add_config(parser)
    parser.add_argument("--provider", required=True, choices=tuple(PROVIDERS))
    parser.add_argument("--route", default="default", help="as check-config names them, e.g. by_guard:secret_leak")
    parser.add_argument("--resolve", action="store_true", help="resolve the test's incident or alert instead")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 if the provider accepted the notification, 1 if not, 2 for the configuration.

    A configured provider can be tested also while alerting is not enabled.
    """
    config = load_config(args.config)
    section = config.exporters.alerting.sections.get(args.provider)
    if section is None:
        raise UsageError(f"exporters.alerting.{args.provider}: is not configured")
    provider = PROVIDERS[args.provider].build(section)
    if not provider.knows(args.route):
        routes = ", ".join(filter(provider.knows, provider.routes))
        raise UsageError(f"--route: {args.provider} has no route {args.route!r}, only {routes}")
    notification = Resolve(DEDUP_KEY) if args.resolve else trigger(config.exporters.alerting.min_severity, time.time())
    answer = asyncio.run(_send(provider, args.route, notification, config.delivery.timeout_seconds))
    print(_told(answer, args), file=sys.stdout if isinstance(answer, Accepted) else sys.stderr)
    return 0 if isinstance(answer, Accepted) else 1


def trigger(severity: Severity, now: float) -> Trigger:
    """A trigger of a violation that says in every text that it is a test."""
    violation = Violation(
        event_id=str(uuid.uuid4()),
        event_type="test",
        timestamp=utc(now),
        guard="test",
        severity=severity,
        reason=_REASON,
        allowed=False,
        agent_id="test",
        session_id="test",
        resource_type="configuration",
        resource_name="test",
    )
    return Trigger(DEDUP_KEY, violation, severity, Story(1, now, now, severity))


async def _send(provider: Provider, route: str, notification: Notification, timeout: float) -> Answer:
    async with create_session(max_in_flight=1) as session:
        answer = await deliver(HttpSender(session), provider, route, notification, timeout)
    assert answer is not None  # nothing here withholds the notification
    return answer


def _told(answer: Answer, args: argparse.Namespace) -> str:
    what = f"{args.provider}, route {args.route}"
    match answer:
        case Accepted() if args.resolve:
            return f"{what}: accepted; {DEDUP_KEY} is resolved"
        case Accepted():
            return f"{what}: accepted as {DEDUP_KEY}; the same command with --resolve resolves it"
        case Rejected(status=status, reason=reason):
            return f"{what}: rejected, HTTP {status}: {reason}"
        case RouteRefused(status=status, reason=reason):
            return f"{what}: the key is refused, HTTP {status}: {reason}"
        case Throttled(reason=reason):
            return f"{what}: too many requests: {reason}"
        case Unavailable(status=None, reason=reason):
            return f"{what}: no answer: {reason}"
        case Unavailable(status=status, reason=reason):
            return f"{what}: unavailable, HTTP {status}: {reason}"
