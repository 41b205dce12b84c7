"""The alerts that were found in the state topics: filters that select some of them, and a table of them."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from consumer.cli.arguments import text
from consumer.cli.last_event import names_of
from consumer.cli.nearest_keys import nearest
from consumer.cli.terminal import age, complain, counted, show_table
from consumer.cli.with_configuration import UsageError
from state.alert import Alert, Former, Status, kept_name
from state.due import due
from state.held import is_silenced
from state.violation import Severity

FILTERS: Final = ("--status", "--severity", "--guard", "--tenant", "--orphaned")
_COLUMNS = ("STATUS", "SEVERITY", "SEEN", "SINCE", "LAST", "OWES", "ORPHANED AT", "PROVIDER", "DEDUP KEY")


@dataclass(frozen=True, slots=True)
class Found:
    """An alert, and the partition whose task has it."""

    provider: str
    partition: int
    alert: Alert
    orphans: Sequence[Former] = ()
    """The integrations at which it has, or may have, an incident, but whose key is not configured."""


@dataclass(frozen=True, slots=True)
class Looked:
    """All alerts of these providers. The state topics were read from the time ``at`` on (seconds since the epoch)."""

    providers: Sequence[str]
    found: Sequence[Found]
    at: float


# which are meant


def add_filters(parser: Any) -> None:
    """Add ``--status``, ``--severity``, ``--guard``, ``--tenant`` and ``--orphaned``, which `chosen` reads."""
    parser.add_argument(
        "--status",
        action="append",
        choices=[status.value for status in Status],
        help="only alerts with this status; can be given several times",
    )
    parser.add_argument(
        "--severity",
        action="append",
        choices=[severity.label for severity in Severity],
        help="only alerts with this severity; can be given several times",
    )
    for name in ("guard", "tenant"):
        parser.add_argument(
            f"--{name}",
            metavar="NAME",
            action="append",
            type=text,
            help=f"only alerts whose owed event, or last told event, has this {name}; can be given several times",
        )
    parser.add_argument(
        "--orphaned",
        action="store_true",
        help="only alerts with an incident that cannot be reached, since its key is not configured any more",
    )


def has_filter(args: argparse.Namespace) -> bool:
    """Whether any of the filters is given."""
    return bool(args.status or args.severity or args.guard or args.tenant or args.orphaned)


def chosen(args: argparse.Namespace, found: Iterable[Found]) -> list[Found]:
    """The alerts that pass all of the given filters, the worst first."""
    meant = [
        one
        for one in found
        if (not args.status or one.alert.status.value in args.status)
        and (not args.severity or one.alert.highest.label in args.severity)
        and (one.orphans or not args.orphaned)
    ]
    if args.guard or args.tenant:
        meant = _named(meant, args.guard, args.tenant)
    return worst_first(meant)


def worst_first(found: Iterable[Found]) -> list[Found]:
    """The worst first, of these the newest."""
    return sorted(found, key=lambda one: (-one.alert.highest, -one.alert.last_seen, one.alert.dedup_key, one.partition))


def _named(found: Sequence[Found], guards: Sequence[str] | None, tenants: Sequence[str] | None) -> list[Found]:
    """The alerts with one of these guards and one of these tenants (None: with any)."""
    wanted_guards, wanted_tenants = ([kept_name(name) for name in names or ()] for names in (guards, tenants))
    named, unknown = [], 0
    for one in found:
        if (names := names_of(one.alert)) is None:
            unknown += 1
        elif (not guards or kept_name(names[0]) in wanted_guards) and (
            not tenants or kept_name(names[1]) in wanted_tenants
        ):
            named.append(one)
    if unknown:
        told = "told it" if unknown == 1 else "told them"
        complain(
            [f"{counted(unknown, 'alert')} left out: an earlier release {told}, and kept neither guard nor tenant"]
        )
    return named


def of_keys(keys: Sequence[str], looked: Looked) -> tuple[dict[str, list[Found]], list[str]]:
    """The alerts with these dedup keys, in their order, and a sentence for each key that has none.

    Raises `UsageError` for a key that several providers have.
    """
    by_key: dict[str, list[Found]] = {key: [] for key in keys}
    for one in looked.found:
        if one.alert.dedup_key in by_key:
            by_key[one.alert.dedup_key].append(one)
    for key, alerts in by_key.items():
        if len({one.provider for one in alerts}) > 1:
            raise UsageError(f"--provider: both providers have an alert with the dedup key {key}: say which is meant")
    missing = [key for key, alerts in by_key.items() if not alerts]
    return by_key, not_there(missing, looked) if missing else []


def not_there(dedup_keys: Sequence[str], looked: Looked) -> list[str]:
    """A sentence for each of these keys: no alert has it at the providers that were read. The first few sentences name
    the nearest keys."""
    near = nearest(dedup_keys, [one.alert.dedup_key for one in looked.found])
    hints = [f"; the nearest: {', '.join(found)}" if found else "" for found in near]
    return [
        f"there is no alert with the dedup key {key} at {' or '.join(looked.providers)}{hint}"
        for key, hint in zip_longest(dedup_keys, hints, fillvalue="")
    ]


# a table


def show_alerts(found: Iterable[Found], now: float, *, is_orphaned_at_shown: bool) -> None:
    """Print a table of the alerts on stdout, each on one line."""
    show_table(_COLUMNS, (_row(one, now, is_orphaned_at_shown=is_orphaned_at_shown) for one in found))


def _row(found: Found, now: float, *, is_orphaned_at_shown: bool) -> Sequence[object]:
    alert, owes = found.alert, due(found.alert)
    return (
        "silenced" if is_silenced(alert) else alert.status.value,
        alert.highest.label,
        alert.occurrences,
        age(now - alert.first_seen),
        age(now - alert.last_seen),
        None if owes is None else owes.value,
        ", ".join(map(str, found.orphans)) if is_orphaned_at_shown else None,
        found.provider,
        alert.dedup_key,
    )
