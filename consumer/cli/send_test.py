"""``send-test --config FILE --provider P``: sends one real test notification, or resolves it."""

import argparse
import asyncio
import sys
import time
import uuid
from typing import Any, Final

from consumer.cli.arguments import add_config
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.with_configuration import UsageError
from consumer.config import load_config
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.http import HttpSender, create_session
from providers.inspection import InspectionError, Inspector, NotThere, There, inspector_of, look_for
from providers.notification import AlertSummary, Notification, Resolve, Trigger
from providers.notify import deliver
from providers.provider import Provider
from providers.table import build
from providers.timestamps import utc
from providers.verification import AlwaysVerified
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
    add_provider(parser, required=True)
    parser.add_argument("--route", default="default", help="as check-config names them, e.g. by_guard:secret_leak")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="look whether an incident is there, and what stands in the way if not; needs pagerduty.rest_token",
    )
    parser.add_argument("--resolve", action="store_true", help="resolve the test's incident or alert instead")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 if the provider accepted it, and with ``--verify`` if people can see it; 1 if not, 2 for the
    configuration.

    A configured provider can be tested also while alerting is not enabled.
    """
    config = load_config(args.config)
    section = config.exporters.alerting.sections.get(args.provider)
    if section is None:
        raise not_configured(args.provider)
    provider = build(args.provider, section)
    if not provider.knows(args.route):
        routes = ", ".join(filter(provider.knows, provider.routes))
        raise UsageError(f"--route: {args.provider} has no route {args.route!r}, only {routes}")
    inspector = inspector_of(provider) if args.verify else None
    if args.verify and args.resolve:
        raise UsageError("--verify: looks for what was opened, and --resolve ends it: give one of them")
    if args.verify and inspector is None:
        raise UsageError(
            f"--verify: nothing is configured by which {args.provider} can be asked (pagerduty.rest_token)"
        )
    notification = Resolve(DEDUP_KEY) if args.resolve else trigger(config.exporters.alerting.min_severity, time.time())
    since, timeout = time.time(), config.delivery.timeout_seconds
    answer = asyncio.run(_send(provider, args.route, notification, timeout))
    print(_told(answer, args), file=sys.stdout if isinstance(answer, Accepted) else sys.stderr)
    if not isinstance(answer, Accepted):
        return 1
    return 0 if inspector is None else _verify(inspector, args, since, timeout)


def _verify(inspector: Inspector, args: argparse.Namespace, since: float, timeout: float) -> int:
    what = f"{args.provider}, route {args.route}"
    try:
        found = asyncio.run(_look(inspector, args.route, since, timeout))
    except InspectionError as error:
        print(f"{what}: whether anybody is paged cannot be seen: {error}", file=sys.stderr)
        return 1
    if isinstance(found, There):
        print(f"{what}: {found.what}")
        return 0
    why = [obstacle.text for obstacle in found.obstacles] or ["the REST API shows nothing that stands in the way"]
    print(f"{what}: accepted, but there is no incident: {'; '.join(why)}", file=sys.stderr)
    return 1


async def _look(inspector: Inspector, route: str, since: float, timeout: float) -> There | NotThere:
    async with create_session(max_in_flight=1) as session:
        return await look_for(inspector, HttpSender(session), route, DEDUP_KEY, since, timeout)


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
    return Trigger(DEDUP_KEY, violation, severity, AlertSummary(1, now, now, severity))


async def _send(provider: Provider, route: str, notification: Notification, timeout: float) -> Answer | None:
    """None: the provider is not told such a thing, and nothing was sent."""
    heard: list[Answer] = []
    async with create_session(max_in_flight=1) as session:
        answer = await deliver(
            HttpSender(session), provider, route, notification, timeout,
            answered=heard.append, verifier=AlwaysVerified,
        )  # fmt: skip
    return answer if heard or not isinstance(answer, Accepted) else None


def _told(answer: Answer | None, args: argparse.Namespace) -> str:
    what = f"{args.provider}, route {args.route}"
    match answer:
        case None:
            return f"{what}: is not told of {'resolves' if args.resolve else 'triggers'}: nothing was sent"
        case Accepted(unverified=unverified):
            told = f"{DEDUP_KEY} is resolved" if args.resolve else "the same command with --resolve resolves it"
            accepted = "accepted" if args.resolve else f"accepted as {DEDUP_KEY}"
            doubt = "" if unverified is None else f" (not known whether it has come about: {unverified})"
            return f"{what}: {accepted}{doubt}; {told}"
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
