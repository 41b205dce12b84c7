"""``alerts compare``: what is open at one of two providers only, as their states say."""

import argparse
import json
import time
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from consumer.cli.alerts_compare import compare, compared
from consumer.cli.alerts_found import Found
from consumer.cli.with_configuration import UsageError
from consumer.config import parse_config
from state.alert import Alert, Notified, Owed, Status
from state.violation import Record, Severity

RECORD = Record("events", 0, 1, 1000, None, b"{}")
OPEN = Alert(
    "k", Status.OPEN, "s", 1, 10.0, 10.0, 10.0, Severity.HIGH, route="default",
    last_notified=Notified(Severity.HIGH, 10.0, None, 1), is_at_provider=True,
)  # fmt: skip
UNTOLD = replace(OPEN, last_notified=None, is_at_provider=False, owed=Owed(RECORD, Severity.HIGH, 1.0, 1, 1))


def there(provider: str, key: str, alert: Alert = OPEN, partition: int = 0) -> Found:
    return Found(provider, partition, replace(alert, dedup_key=key))


def said(found: list[Found], capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[int, str]:
    args = argparse.Namespace(provider="opsgenie", other="jsm", json=as_json)
    return compare(args, found), capsys.readouterr().out


def test_what_is_open_at_both_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said([there("opsgenie", "a"), there("jsm", "a", partition=3)], capsys)
    assert code == 0
    assert out.splitlines() == ["0 alerts open at opsgenie only", "0 alerts open at jsm only", "1 alert open at both"]


def test_what_is_open_at_one_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 7210.0)
    worse = replace(OPEN, highest=Severity.CRITICAL)
    found = [there("opsgenie", "old"), there("opsgenie", "both"), there("jsm", "both"), there("jsm", "new", worse)]
    code, out = said(found, capsys)
    assert code == 1
    assert out.splitlines() == [
        "STATUS  SEVERITY  SEEN  SINCE  LAST  PROVIDER  DEDUP KEY",
        "open    critical     1  2h     2h    jsm       new",
        "open    high         1  2h     2h    opsgenie  old",
        "1 alert open at opsgenie only",
        "1 alert open at jsm only",
        "1 alert open at both",
    ]
    code, out = said(found, capsys, as_json=True)
    assert [(one["provider"], one["dedup_key"]) for one in json.loads(out)] == [("jsm", "new"), ("opsgenie", "old")]


@pytest.mark.parametrize(
    ("alert", "is_open"),
    [
        (OPEN, True),
        (replace(OPEN, status=Status.ACKNOWLEDGED), True),
        (replace(OPEN, status=Status.RESOLVING, is_at_provider=False), True),
        (replace(UNTOLD, unsettled=True), True),
        (UNTOLD, False),
    ],
)
def test_what_was_never_told_is_not_open_there(alert: Alert, is_open: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """So a problem that the one is told, and the other not yet, is open at the one only."""
    code, out = said([there("opsgenie", "a"), there("jsm", "a", alert)], capsys, as_json=True)
    assert [one["provider"] for one in json.loads(out)] == ([] if is_open else ["opsgenie"])
    assert code == (0 if is_open else 1)
    assert said([there("jsm", "b", alert)], capsys)[0] == (1 if is_open else 0)


def section(**settings: Any) -> dict[str, Any]:
    return {"api_key": "a-key-of-opsgenie", **settings}


def names(one: str, other: str, **sections: Any) -> list[str]:
    text = yaml.safe_dump({"exporters": {"alerting": sections}})
    return compared(argparse.Namespace(provider=one, other=other), parse_config(text, {}, lambda path: ""))


def test_two_providers_with_one_key_template_are_compared() -> None:
    assert names("opsgenie", "jsm", opsgenie=section(), jsm=section()) == ["opsgenie", "jsm"]


def test_what_cannot_be_compared_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageError, match=r"exporters\.alerting\.jsm: is not configured"):
        names("opsgenie", "jsm", opsgenie=section())
    with pytest.raises(UsageError, match="--with: is the same provider"):
        names("jsm", "jsm", jsm=section())
    other = {"deduplication": {"key_template": "{guard}"}}
    with pytest.raises(UsageError, match=r"jsm\.deduplication\.key_template: is \{guard\}, and clawdstrike-.* at ops"):
        names("opsgenie", "jsm", opsgenie=section(), jsm=section(**other))
