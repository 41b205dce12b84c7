"""``alerts ack|resolve``: commands about alerts, which are given by their keys or by a filter.

All keys are looked up before anything is written: if one of them has no alert, nothing is done about the others.
"""

import argparse
import getpass
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from consumer.cli.alerts_found import FILTERS, Found, Looked, add_filters, chosen, has_filter, of_keys, show_alerts
from consumer.cli.alerts_sent import Order, Sent, alerts_of, awaited_of, send, wait
from consumer.cli.arguments import add_config, text
from consumer.cli.confirmation import add_arguments, agreed, require_somebody
from consumer.cli.provider import add_provider
from consumer.cli.terminal import complain, counted, plain, show_json
from consumer.cli.with_configuration import UsageError
from consumer.config import Config
from consumer.config.durations import seconds
from consumer.feedback.records import FeedbackKind
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import Offsets
from consumer.status.commanded import Stage
from state.alert import Status

KINDS: Final = {"ack": FeedbackKind.ACKNOWLEDGE, "resolve": FeedbackKind.RESOLVE}
"""The actions that write commands."""

_NAMED: Final = 3
"""How many keys a line names before it says how many more there are."""

# arguments


def add_actions(actions: Any) -> None:
    """Add the two actions to those of ``alerts``."""
    acknowledge = actions.add_parser(
        "ack",
        help="acknowledge alerts, here and at their provider",
        description="Writes commands to the feedback topic; the members that have the alerts take them from there.",
    )
    resolve = actions.add_parser(
        "resolve",
        help="resolve alerts, here and at their provider",
        description="Writes commands to the feedback topic; the members that have the alerts take them from there. A "
        "violation that comes afterwards triggers again.",
    )
    for action in (acknowledge, resolve):
        add_config(action, among=_file_among_keys)
        action.add_argument(
            "dedup_keys",
            metavar="DEDUP_KEY",
            type=text,
            nargs="*",
            help="of the alerts; nothing is done if one does not exist",
        )
        add_provider(action, help="only the alerts there")
        action.add_argument("--by", metavar="NAME", type=text, help="who does it, for the log (default: you)")
        action.add_argument(
            "--wait",
            metavar="SECONDS",
            type=_seconds,
            help="wait at most this long (30, 90s, 5m) until all is done, and fail if it is not",
        )
        filters = action.add_argument_group("instead of keys", "all alerts that pass; you see them, and are asked")
        add_filters(filters)
        add_arguments(action)


def _file_among_keys(args: argparse.Namespace) -> Path | None:
    """The configuration, if a file without an option follows the keys. A last argument that is no file is another
    key."""
    keys = args.dedup_keys
    if keys and Path(keys[-1]).is_file():
        return Path(keys.pop())
    return None


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_usage(args: argparse.Namespace) -> None:
    """Check the arguments.

    Raises `UsageError` if they do not say which alerts are meant, or if the command must ask and nobody can answer.
    """
    if args.dedup_keys and has_filter(args):
        raise UsageError(f"{', '.join(FILTERS)}: say which alerts by these or by dedup keys, not by both")
    if not args.dedup_keys:
        if not has_filter(args):
            raise UsageError(f"which alerts? Give their dedup keys, or one of {', '.join(FILTERS)}")
        require_somebody(args)


# what is to be done


def orders(kind: FeedbackKind, found: Iterable[Found]) -> list[Order]:
    """One order for each dedup key and provider, in the order of their alerts."""
    together: dict[tuple[str, str], list[Found]] = {}
    for one in found:
        together.setdefault((one.provider, one.alert.dedup_key), []).append(one)
    return [
        Order(kind, provider, dedup_key, alerts, _needless(kind, {one.alert.status for one in alerts}))
        for (provider, dedup_key), alerts in together.items()
    ]


def _needless(kind: FeedbackKind, statuses: Collection[Status]) -> str | None:
    done = {Status.RESOLVING, *((Status.ACKNOWLEDGED,) if kind is FeedbackKind.ACKNOWLEDGE else ())}
    if not done.issuperset(statuses):
        return None
    is_resolving = Status.RESOLVING in statuses
    return "the alert is being resolved already" if is_resolving else "the alert is acknowledged already"


async def command(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    looked: Looked,
    ends: Offsets,
) -> int:
    """Carry out ``ack`` or ``resolve`` for the alerts that were found.

    ``ends`` are the ends that the state topics and the feedback topic had before they were read. Exit code 0; 1 if a
    key has no alert, the answer was no, or the command is not done in time.
    """
    kind = KINDS[args.action]
    if args.dedup_keys:
        by_key, missing = of_keys(args.dedup_keys, looked)
        meant = [one for alerts in by_key.values() for one in alerts]
        if missing:
            others = "; nothing was written about the others" if len(set(args.dedup_keys)) > len(missing) else ""
            complain([*missing[:-1], missing[-1] + others])
            return 1
    else:
        meant = chosen(args, looked.found)
    planned = orders(kind, meant)
    wanted = [order for order in planned if order.needless is None]
    if not args.json:
        _show(args, planned, looked.at)
    is_asked = not (args.dedup_keys or args.yes or args.dry_run or not wanted)
    if is_asked and not await agreed(args.action):
        complain(["nothing was written"])
        return 1
    sent = Sent()
    if wanted and not args.dry_run:
        # Only the alerts as they were found are meant. Each command says how they were, so that the tasks leave alone
        # what has happened since.
        sent = await send(clients, config, args.by or _user(), looked.at, wanted)
    if not args.json and sent.places:
        _tell_sent(wanted, len(sent.places), config.kafka.topics.feedback)
    stages: Mapping[tuple[str, str], Stage] = {}
    awaited = awaited_of(planned, sent, looked.at, config)
    if awaited and args.wait is not None and not args.dry_run:
        stages = await wait(args, clients, config, ends, awaited, alerts_of(planned, config))
    if args.json:
        _show_json(args, planned, sent, stages, config)
    return _end(args, sent, len(wanted), stages)


# what is shown


def _show(args: argparse.Namespace, planned: Sequence[Order], now: float) -> None:
    needless = [order for order in planned if order.needless is not None]
    if args.dedup_keys and not args.dry_run:
        for order in needless:
            which = "" if len(planned) == 1 else f" about {order.dedup_key}"
            print(plain(f"nothing to do{which}: {order.needless}"))
        return
    shown = [one for order in planned if order.needless is None for one in order.found]
    if shown:
        show_alerts(shown, now, is_orphaned_at_shown=args.orphaned)
    rest = f", and nothing to do about {len(needless):,} more" if needless else ""
    print(f"{counted(len(planned) - len(needless), 'alert')} to {args.action}{rest}")


def _tell_sent(wanted: Sequence[Order], count: int, topic: str) -> None:
    kind, providers = wanted[0].kind.value, " and ".join(sorted({order.provider for order in wanted}))
    if count == 1:
        print(f"{kind}: written to {topic}; the member that has the alert tells {providers}", flush=True)
    else:
        print(f"{kind}: {count:,} written to {topic}; the members that have the alerts tell {providers}", flush=True)


def _show_json(
    args: argparse.Namespace,
    planned: Sequence[Order],
    sent: Sent,
    stages: Mapping[tuple[str, str], Stage],
    config: Config,
) -> None:
    alerts = []
    for order in planned:
        key = order.provider, order.dedup_key
        facts = {"dedup_key": order.dedup_key, "provider": order.provider, "written": key in sent.places}
        if order.needless is not None:
            facts["nothing_to_do"] = order.needless
        if (at := stages.get((config.kafka.state_topic(order.provider), order.dedup_key))) is not None:
            facts |= {"done": at in (Stage.DONE, Stage.OVER), "stage": at.value}
        alerts.append(facts)
    show_json({"action": KINDS[args.action].value, "dry_run": args.dry_run, "alerts": alerts})


def _end(args: argparse.Namespace, sent: Sent, wanted: int, stages: Mapping[tuple[str, str], Stage]) -> int:
    if sent.failed is not None:
        error = " ".join(str(sent.failed).split()) or type(sent.failed).__name__
        complain([f"{len(sent.places)} of {wanted} were written, then Kafka failed: {error}"])
        return 1
    undone = {key: at for (_, key), at in stages.items() if at not in (Stage.DONE, Stage.OVER)}
    if undone:
        complain([not_done(undone, args.wait)])
    return int(bool(undone))


def not_done(undone: Mapping[str, Stage], waited: float) -> str:
    """A sentence that the commands about these keys are not done, and how far each has come. It names ``waited``, the
    seconds, if one of them can still be done."""
    by_stage: dict[Stage, list[str]] = {}
    for key, at in undone.items():
        by_stage.setdefault(at, []).append(key)
    parts = [f"{_some(keys)} ({at.value})" for at, keys in by_stage.items()]
    within = "" if all(at.is_final for at in by_stage) else f" within {waited:g} s"
    return f"not done{within}: {', '.join(parts)}"


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


# what is done


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return "unknown"
