"""The data of the page: incidents, providers and requests as JSON, without secrets and in harmless characters. Pure.

Whoever provokes a violation chooses parts of the texts. The page shows them as text and never as markup. Here they lose
what would make even a text deceive: control characters, marks that reverse its direction, and unbounded length.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from providers.integration import CHECKED
from providers.sandbox.board import Board, Card
from providers.sandbox.incidents import Incident
from providers.sandbox.journal import JournalEntry
from providers.sandbox.outage import SandboxOutage
from providers.text import shorten

TITLE_LIMIT = 300
NAME_LIMIT = 120
DETAIL_LIMIT = 2_000
PAYLOAD_LIMIT = 40_000
"""How many characters of a text the page shows; a longer text ends in an ellipsis."""

MOST_TEAMS = 12

LEVELS: Mapping[str, str] = {
    **{"critical": "critical", "error": "high", "warning": "medium", "info": "info"},
    **{"P1": "critical", "P2": "high", "P3": "medium", "P4": "low", "P5": "info"},
}
"""The level of each provider's severities or priorities, on one scale for both."""


def visible(text: str, limit: int) -> str:
    """The text on one line. Characters that do not print, or reverse the text after them, become escapes."""
    return shorten(_escaped(text[: limit + 1]), limit)


def lines(text: str, limit: int) -> str:
    """Like `visible`, for a text that may have several lines."""
    return shorten("\n".join(_escaped(line) for line in text[: limit + 1].split("\n")), limit)


def incident(card: Card, integrations: Mapping[str, str]) -> dict[str, Any]:
    """One incident as the line of the page's list shows it."""
    one = card.incident
    return {
        "id": one.id,
        "number": one.number,
        "provider": one.provider,
        "title": visible(one.title, TITLE_LIMIT),
        "severity": visible(one.severity, NAME_LIMIT),
        "level": LEVELS.get(one.severity, "info"),
        "teams": teams(one, integrations),
        "status": {"ended": "resolved"}.get(one.status, one.status),
        "by": one.ended_by if not one.open else one.acknowledged_by if one.status == "acknowledged" else None,
        "told": one.triggers,
        "occurrences": one.occurrences,
        "opened_at": one.opened_at,
        "ended_at": one.resolved_at,
        "dedup_key": visible(one.dedup_key, NAME_LIMIT),
        "extra": one.extra,
    }


def detail(card: Card, integrations: Mapping[str, str]) -> dict[str, Any]:
    """One incident with its steps and the body that opened it."""
    steps = [
        {"at": step.at, "what": step.what, "by": step.by, "detail": lines(step.detail, DETAIL_LIMIT)}
        for step in card.steps
    ]
    return {
        **incident(card, integrations),
        "dedup_key": visible(card.incident.dedup_key, DETAIL_LIMIT),
        "steps": steps,
        "left_out": card.left_out,
        "payload": payload(card.incident.opened_with),
    }


def teams(one: Incident, integrations: Mapping[str, str]) -> list[str]:
    """The addressees of an incident: the integration at PagerDuty, the responders at OpsGenie."""
    if one.provider == "pagerduty":
        return [visible(integrations.get(one.key, f"integration …{one.key[-4:]}"), NAME_LIMIT)]
    responders: Iterable[Mapping[str, Any]] = (one.opened_with or {}).get("responders") or ()
    names = [str(each.get("name") or each.get("username") or each.get("id") or "?") for each in responders]
    shown = [visible(name, NAME_LIMIT) for name in dict.fromkeys(names)]
    return shown if len(shown) <= MOST_TEAMS else [*shown[:MOST_TEAMS], f"{len(shown) - MOST_TEAMS} more"]


def payload(body: Mapping[str, Any] | None) -> str | None:
    """A request's body as text of many lines, without its key but for the last four characters; None if the body was
    not kept."""
    if body is None:
        return None
    told = dict(body)
    if isinstance(told.get("routing_key"), str):
        told["routing_key"] = f"…{told['routing_key'][-4:]}"
    text = orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
    return lines(text, PAYLOAD_LIMIT)


def provider(
    name: str,
    counts: Mapping[str, int],
    *,
    acknowledged: int,
    outcomes: tuple[int, int],
    outage: SandboxOutage | None,
    now: float,
) -> dict[str, Any]:
    """One provider: its incidents by status, its answers, and its outage. ``now`` is by the event loop's clock."""
    accepted, refused = outcomes
    return {
        "name": name,
        "open": counts.get("open", 0) - acknowledged,
        "acknowledged": acknowledged,
        "resolved": counts.get("ended", 0),
        "accepted": accepted,
        "refused": refused,
        "outage": None
        if outage is None
        else {"how": outage.how, "status": outage.status, "seconds": max(0.0, outage.ends_at - now)},
    }


def request(entry: JournalEntry) -> dict[str, Any]:
    """One request. ``status`` is None while it has no answer; with a ``fault`` it may never get one."""
    about = entry.dedup_key or ""
    checks = about.startswith(CHECKED)
    return {
        "number": entry.number,
        "at": entry.at,
        "provider": entry.provider,
        "action": "key check" if checks else visible(entry.action, NAME_LIMIT),
        "about": "" if checks else visible(about, NAME_LIMIT),
        "status": entry.status,
        "fault": entry.fault,
    }


def state(
    board: Board,
    *,
    since: int,
    whole: bool,
    integrations: Mapping[str, str],
    opened: int,
    providers: Sequence[Mapping[str, Any]],
    faults: int,
    now: float,
) -> dict[str, Any]:
    """One event of the page's stream: the ``whole`` board, or the incidents that have changed after the revision
    ``since``.

    ``opened`` is how many incidents there ever were; ``faults`` is how many faults are in force that were not begun at
    the page.
    """
    cards = board.cards(since=0 if whole else since)
    oldest = next(iter(board.cards()), None)
    return {
        "now": now,
        "era": board.era,
        "whole": whole,
        "first": oldest.incident.number if oldest is not None else 0,
        "older": opened - len(board.cards()),
        "incidents": [incident(card, integrations) for card in reversed(cards)],
        "providers": providers,
        "requests": [request(entry) for entry in reversed(board.requests)],
        "faults": faults,
    }


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
