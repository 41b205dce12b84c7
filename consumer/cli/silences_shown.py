"""Silences as people and programs read them."""

import argparse
from collections.abc import Mapping, Sequence

from consumer.cli.silences_held import Silenced, holds
from consumer.cli.silences_preview import Preview
from consumer.cli.terminal import age, complain, counted, show_facts, show_json, show_table
from consumer.silences.known import KnownSilences
from consumer.silences.records import to_json
from consumer.silences.silence import Silence, SilenceStatus

_COLUMNS = ("ID", "STATE", "ENDS", "ALERTS", "EVENTS", "AT", "MATCH", "BY", "REASON")


def show_list(args: argparse.Namespace, known: KnownSilences, silenced: Silenced, now: float) -> int:
    """Print the silences that hold now or will hold; with ``--all``, every silence."""
    found = listed(args, known, now)
    if args.json:
        show_json([_to_json(one, silenced, now) for one in found])
    elif not found:
        print("no silences")
    else:
        show_table(_COLUMNS, (_row(one, silenced, now) for one in found), is_last_cut=True)
        print(counted(len(found), "silence"))
    return 0


def listed(args: argparse.Namespace, known: KnownSilences, now: float) -> list[Silence]:
    """The silences that are asked for, sorted by their ends."""
    found = [one for one in known.all().values() if args.all or now < one.expires_at]
    return sorted(found, key=lambda one: (one.expires_at, one.id))


def show_one(args: argparse.Namespace, known: KnownSilences, silenced: Silenced, now: float) -> int:
    """Print one silence. Returns the exit code: 1 if there is no such silence."""
    silence = known.get(args.id)
    if silence is None:
        complain([not_there(args.id, known)])
        return 1
    if args.json:
        show_json(_to_json(silence, silenced, now))
    else:
        held = holds(silence, silenced)
        show_facts({**silence_facts(silence, now), "alerts": held.alerts, "events": held.occurrences}.items())
    return 0


def _to_json(silence: Silence, silenced: Silenced, now: float) -> Mapping[str, object]:
    held = holds(silence, silenced)
    return {
        **to_json(silence),
        "state": _state(silence, now),
        "alerts": held.alerts,
        "occurrences": held.occurrences,
    }


def not_there(silence_id: str, known: KnownSilences) -> str:
    """A sentence that there is none of this id, and which there are."""
    there = ", ".join(sorted(known.all())[:5]) or "none"
    return f"there is no silence {silence_id}; there are: {there}"


def _state(silence: Silence, now: float) -> str:
    if now < silence.starts_at:
        return "pending"
    if now < silence.expires_at:
        return "active"
    return "revoked" if silence.status is SilenceStatus.REVOKED else "expired"


def _row(silence: Silence, silenced: Silenced, now: float) -> Sequence[object]:
    held = holds(silence, silenced)
    return (
        silence.id,
        _state(silence, now),
        f"in {age(silence.expires_at - now)}" if now < silence.expires_at else f"{age(now - silence.expires_at)} ago",
        held.alerts,
        held.occurrences,
        silence.scope,
        _match(silence),
        silence.created_by,
        silence.reason,
    )


def _match(silence: Silence) -> str:
    terms = [f"{name}={value}" for name, value in silence.match.terms.items()]
    if silence.match.severity is not None:
        terms.append(f"severity<={silence.match.severity.label}")
    if silence.include_critical:
        terms.append("critical too")
    return " ".join(terms)


def silence_facts(silence: Silence, now: float) -> Mapping[str, object]:
    """All that is known of a silence, each with the name that people are shown."""
    json = to_json(silence)
    return {
        "id": silence.id,
        "state": _state(silence, now),
        "provider": silence.scope,
        "matches": _match(silence),
        "reason": silence.reason,
        "created by": silence.created_by,
        "created at": json["created_at"],
        "starts at": json["starts_at"],
        "ends at": json["expires_at"],
    }


def said(found: Preview, now: float) -> str:
    """A sentence about what a silence would have matched."""
    if found.since is None:
        return "in the last hour there was no event"
    span = "the last hour" if found.is_whole else f"the last {age(now - found.since)}"
    problems = ", ".join(f"{counted(count, 'problem')} at {name}" for name, count in found.problems.items())
    of = counted(found.alertable, "alertable event")
    return f"in {span} it would have matched {found.matched:,} of {of}: {problems}"
