"""What OpsGenie accepts in a request's body. Each function returns the errors by field."""

from collections.abc import Callable, Mapping
from typing import Any

Errors = dict[str, str]
PRIORITIES = ("P1", "P2", "P3", "P4", "P5")
TAG_COUNT = 20
_RESPONDERS = ("team", "user", "escalation", "schedule")


def create_errors(body: Mapping[str, Any]) -> Errors:
    """The errors of ``POST /v2/alerts``."""
    errors: Errors = {}
    _text(body, errors, "message", 130, required=True)
    for name, limit in (("alias", 512), ("description", 15_000), ("entity", 512), *_ACTION_TEXTS):
        _text(body, errors, name, limit)
    _recipients(body, errors, "responders", _RESPONDERS)
    _recipients(body, errors, "visibleTo", ("team", "user"))
    _texts(body, errors, "actions", 10)
    _texts(body, errors, "tags", TAG_COUNT)
    _details(body, errors)
    _priority(body, errors, required=False)
    return errors


def action_errors(body: Mapping[str, Any]) -> Errors:
    """The errors of close, acknowledge and unacknowledge."""
    errors: Errors = {}
    for name, limit in _ACTION_TEXTS:
        _text(body, errors, name, limit)
    return errors


def note_errors(body: Mapping[str, Any]) -> Errors:
    """The errors of adding a note."""
    errors = action_errors(body)
    _text(body, errors, "note", 25_000, required=True)
    return errors


def priority_errors(body: Mapping[str, Any]) -> Errors:
    """The errors of changing the priority."""
    errors: Errors = {}
    _priority(body, errors, required=True)
    return errors


def tags_errors(body: Mapping[str, Any]) -> Errors:
    """The errors of adding tags."""
    errors = action_errors(body)
    if not body.get("tags"):
        errors["tags"] = "can not be empty"
    else:
        _texts(body, errors, "tags", TAG_COUNT)
    return errors


RULES: Mapping[str, Callable[[Mapping[str, Any]], Errors]] = {
    "create": create_errors,
    "close": action_errors,
    "acknowledge": action_errors,
    "unacknowledge": action_errors,
    "note": note_errors,
    "priority": priority_errors,
    "tags": tags_errors,
}
"""The rules by action; the other actions have no body."""

_ACTION_TEXTS = (("source", 100), ("user", 100), ("note", 25_000))


def _text(body: Mapping[str, Any], errors: Errors, name: str, limit: int, *, required: bool = False) -> None:
    value = body.get(name)
    if value is None or value == "":
        if required:
            errors[name] = f"{name.capitalize()} can not be empty."
    elif not isinstance(value, str):
        errors[name] = "should be a string"
    elif len(value) > limit:
        errors[name] = f"should be at most {limit} characters"


def _texts(body: Mapping[str, Any], errors: Errors, name: str, count: int) -> None:
    values = body.get(name)
    if values is None:
        return
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        errors[name] = "should be a list of strings"
    elif len(values) > count:
        errors[name] = f"should have at most {count} elements"
    else:
        for index, value in enumerate(values):
            if not 0 < len(value) <= 50:
                errors[f"{name}[{index}]"] = "should be 1 to 50 characters"


def _recipients(body: Mapping[str, Any], errors: Errors, name: str, types: tuple[str, ...]) -> None:
    recipients = body.get(name)
    if recipients is None:
        return
    if not isinstance(recipients, list):
        errors[name] = "should be a list"
        return
    if len(recipients) > 50:
        errors[name] = "should have at most 50 elements"
    for index, recipient in enumerate(recipients):
        at = f"{name}[{index}]"
        if not isinstance(recipient, dict):
            errors[at] = "should be an object"
        elif recipient.get("type") not in types:
            errors[f"{at}.type"] = f"should be one of [ {', '.join(types)} ]"
        else:
            naming = "username" if recipient["type"] == "user" else "name"
            given = [recipient[field] for field in ("id", naming) if recipient.get(field) not in (None, "")]
            if not given or not all(isinstance(value, str) for value in given):
                errors[at] = f"id or {naming} should be provided"


def _details(body: Mapping[str, Any], errors: Errors) -> None:
    details = body.get("details")
    if details is None:
        return
    if not isinstance(details, dict) or not all(isinstance(value, str) for value in details.values()):
        errors["details"] = "should be a map of strings"
    elif sum(len(name) + len(value) for name, value in details.items()) > 8_000:
        errors["details"] = "should be at most 8000 characters together"


def _priority(body: Mapping[str, Any], errors: Errors, *, required: bool) -> None:
    priority = body.get("priority")
    if (required or priority is not None) and priority not in PRIORITIES:
        errors["priority"] = f"should be one of [ {', '.join(PRIORITIES)} ]"
