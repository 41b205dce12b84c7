"""Templates of providers by configuration: values are put in as values, and nothing that an event says is more."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.configured import facts
from providers.configured.facts import Json, Known, Told
from providers.configured.keys import hashed, lower_case_safe, writer
from providers.configured.statuses import statuses
from providers.configured.template import (
    Names,
    compile_address,
    compile_text,
    compile_tree,
    texts_of,
)
from providers.notification import Acknowledge, AlertSummary, Notification, Origin, Resolve, Trigger
from state.alert import Ending
from state.violation import Severity, Violation
from tests.unit.test_described_examples import HOSTILE, NOW, violation

NAMES = Names(facts.OF_TRIGGER, has_secret=True, secrets={"source": "S/0?1"})


def told(of: Violation | None = None, **more: Any) -> Told:
    of = of or violation()
    alert_summary = AlertSummary(4, NOW, NOW + 90, Severity.CRITICAL)
    trigger = Trigger("a key", of, Severity.CRITICAL, alert_summary, **more)
    return Told(trigger, "A:key", "s3cr3t/x y", "P1")


def rendered(tree: Json, of: Violation | None = None, names: Names = NAMES, **more: Any) -> Json:
    return compile_tree(tree, names)(told(of, **more))


# --- trees


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("as it is", "as it is"),
        ("[{guard}] {reason}", "[forbidden_path] Access to forbidden path: /etc/shadow"),
        ("{severity}", "critical"),
        ("{mapped_severity}", "P1"),
        ("{dedup_key}", "A:key"),
        ("{secret}:{secret.source}", "s3cr3t/x y:S/0?1"),
        ("{occurrences}", 4),
        ("{occurrences} times", "4 times"),
        ("{again}", False),
        ("{again}, {allowed}", "false, false"),
        ("{first_seen}", "2026-05-20T14:00:00.000Z"),
        ("{label.team}/{labels}", None),
        ("{tags}", ["guard:forbidden_path", "severity:high", "event_type:guard_block"]),
        ("{labels}", {"team": "dlp"}),
        ("{label.team}", "dlp"),
        ("for {tenant_id}", "for default"),
        ("{reason:10}", "Access to…"),
        ("{true}", True),
        ("{false}", False),
        ("{null}", None),
        ("{5}", 5),
        ("{-1.5}", -1.5),
        ("{{guard}}", "{guard}"),
        ("{{{guard}}}", "{forbidden_path}"),
        ("two\nlines of {guard}", "two\nlines of forbidden_path"),
        ("", ""),
    ],
)
def test_a_value(template: str, value: Json) -> None:
    of = violation(labels={"team": "dlp"})
    if template == "{label.team}/{labels}":
        with pytest.raises(ValueError, match="can only be the whole of a value"):
            rendered(template, of)
        return
    made = rendered({"v": template}, of)
    assert made == {"v": value}
    assert type(made["v"]) is type(value)


def test_what_the_event_lacks_is_left_out_where_it_would_be_the_whole() -> None:
    tree = {"a": "{tenant_id}", "b": ["{tenant_id}", "x", "{user_id}"], "c": {"d": "{label.none}"}, "e": "{topic}"}
    assert rendered(tree) == {"b": ["x"], "c": {}}
    assert rendered({"r": "{reason}"}, violation(reason="")) == {}
    assert rendered({"n": None, "f": False, "z": 0, "e": [], "o": {}}) == {
        "n": None,
        "f": False,
        "z": 0,
        "e": [],
        "o": {},
    }


def test_all_of_an_event_as_an_object() -> None:
    details = rendered(
        "{details}", violation(labels={"team": "dlp"}, resource_port=443), origin=Origin("events", 3, 42)
    )
    assert details["guard"] == "forbidden_path"
    assert details["severity"] == "critical"
    assert (details["resource_port"], details["allowed"], details["occurrences"]) == (443, False, 4)
    assert (details["topic"], details["partition"], details["offset"]) == ("events", 3, 42)
    assert details["labels"] == {"team": "dlp"}
    assert "tenant_id" not in details


def test_markup_is_escaped_where_that_is_asked_for() -> None:
    of = violation(reason="<!channel> & <b>")
    assert rendered("{reason:html}", of) == "&lt;!channel&gt; &amp; &lt;b&gt;"
    assert rendered("! {reason:html:11} !", of) == "! &lt;!channel&gt;… !", "cut, and then escaped"
    assert rendered("{occurrences:html}") == 4


@pytest.mark.parametrize(
    ("template", "at", "why"),
    [
        ("{nobody}", (), "unknown placeholder {nobody}: choose from {dedup_key}, "),
        ({"a": [{"b": "x {"}]}, ("a", 0, "b"), "unbalanced brace"),
        ({"a": "}"}, ("a",), "unbalanced brace"),
        ({"a": "{}"}, ("a",), "a placeholder without a name"),
        ({"a": "{label.}"}, ("a",), "is not known here"),
        ({"a": "{secret.other}"}, ("a",), "there is no other in the setting secrets"),
        ({"a": "{secret:5}"}, ("a",), "is sent as it is"),
        ({"a": "{dedup_key:html}"}, ("a",), "is sent as it is"),
        ({"a": "{reason:1000000}"}, ("a",), "at most 100000"),
        ({"a": "all {details}"}, ("a",), "can only be the whole of a value"),
        ({"a": "{ended_by}"}, ("a",), "is not known here"),
    ],
)
def test_what_is_wrong_with_a_tree(template: Json, at: tuple[str | int, ...], why: str) -> None:
    ((way, text),) = texts_of(template)
    assert way == at
    for tree in (template, text):
        with pytest.raises(ValueError, match=re.escape(why)):
            compile_tree(tree, NAMES)


@pytest.mark.parametrize(
    ("known", "knows"),
    [
        (facts.OF_NOTHING, set()),
        (facts.OF_ACKNOWLEDGE, {"dedup_key"}),
        (facts.OF_RESOLVE, {"dedup_key", "ended_by"}),
    ],
)
def test_what_is_no_trigger_has_no_event(known: Known, knows: set[str]) -> None:
    names = {*facts.OF_TRIGGER.facts, *facts.OF_RESOLVE.facts, "label.team", "secret"}
    refused = set()
    for name in names:
        try:
            compile_tree(f"{{{name}}}", Names(known))
        except ValueError:
            refused.add(name)
    assert names - refused == knows


@pytest.mark.parametrize(
    ("notification", "ended_by"),
    [(Resolve("k", Ending.QUIET), Ending.QUIET.value), (Resolve("k"), None), (Acknowledge("k"), None)],
)
def test_an_end_says_what_ended_it(notification: Notification, ended_by: str | None) -> None:
    made = compile_tree({"by": "{ended_by}"}, Names(facts.OF_RESOLVE))(Told(notification, "k", ""))
    assert made == ({} if ended_by is None else {"by": ended_by})


ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | st.sampled_from([HOSTILE, "{guard}", '"', "\\", "..", "."])


@given(reason=ANY_TEXT, name=ANY_TEXT, label=ANY_TEXT)
def test_whatever_a_value_is_the_tree_stays_as_it_is(reason: str, name: str, label: str) -> None:
    of = violation(reason=reason, resource_name=name, labels={label: label})
    tree = {"a": "x{reason}", "b": [{"c": "{resource_name}{{"}], "d": "{details}", "e": "{labels}", "f": "f"}
    made = orjson.loads(orjson.dumps(rendered(tree, of)))
    assert set(made) == {"a", "b", "d", "e", "f"}
    assert made["a"].startswith("x")
    assert list(made["b"][0]) == ["c"]
    assert made["f"] == "f"
    assert json.loads(json.dumps(made)) == made


# --- addresses


@given(key=ANY_TEXT.filter(lambda text: text.isprintable()), resource=ANY_TEXT)
def test_a_value_changes_no_address(key: str, resource: str) -> None:
    make = compile_address("https://a.example:8443/v1/{dedup_key}/close/{resource:30}?by={resource}&x=1", NAMES)
    trigger = told(violation(resource_name=resource)).notification
    parts = urlsplit(make(Told(trigger, key or "k", "s")))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "a.example:8443", "")
    v1, written, close, _ = parts.path.removeprefix("/").split("/")
    assert (v1, unquote(written, errors="strict"), close) == ("v1", key or "k", "close")
    assert written.strip(".") != ""
    assert set(parse_qs(parts.query)) == {"by", "x"}


def test_a_secret_can_be_several_segments() -> None:
    assert compile_address("https://a.example/{secret}", NAMES)(told()) == "https://a.example/s3cr3t/x%20y"
    assert compile_address("https://a.example/?t={secret.source}", NAMES)(told()) == "https://a.example/?t=S/0%3F1"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://{guard}.example/", "must have its host before the first placeholder"),
        ("https://a.example{secret}/", "must have its host before the first placeholder"),
        ("{secret}", "must be an address"),
        ("https://a.example:{occurrences}/", "must be an address"),
        ("http://a.example/", "must be https, except on loopback"),
        ("https://u:p@a.example/", "must not contain credentials"),
        ("https://a.example/#{guard}", "must not contain a fragment"),
        ("https://a.example/a b", "must be an address"),
        ("https://a.example/{labels}", "cannot be in an address"),
        ("https://a.example/{nobody}", "unknown placeholder"),
        ("ftp://a.example/", "must be an address"),
    ],
)
def test_refused_addresses(address: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compile_address(address, NAMES)


def test_http_is_for_loopback() -> None:
    assert compile_address("http://127.0.0.1:1/{guard}", NAMES)(told()) == "http://127.0.0.1:1/forbidden_path"


def test_a_header_is_a_text_with_secrets() -> None:
    assert (
        compile_text("Bearer {secret.source}", Names(facts.OF_NOTHING, secrets={"source": "x"}))(told()) == "Bearer x"
    )
    with pytest.raises(ValueError, match="the setting secret is not given"):
        compile_text("Bearer {secret}", Names(facts.OF_NOTHING))


# --- keys

KEYS = st.text(st.sampled_from("aAbB^0%~ \u212a\u017fß\u0130\u0131éÉ{2"), min_size=1, max_size=12) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40
)


def alike(key: str) -> set[str]:
    """What a provider may make of a key before it compares it."""
    return {fold(key.strip()) for fold in (str.lower, str.upper, str.casefold, str)}


@given(KEYS, KEYS)
def test_two_keys_stay_two_without_regard_to_case(one: str, other: str) -> None:
    written, beside = lower_case_safe(one, 255), lower_case_safe(other, 255)
    assert (one == other) == bool(alike(written) & alike(beside))


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("secret_leak:sess-1", "secret_leak:sess-1"),
        ("secret_leak:Sess-1", "secret_leak:^sess-1"),
        ("a%2F^b", "a%2^f^05eb"),
        (" a b ", "^020a b^020"),
        (" ", "^020"),
        ("é", "^0c3^0a9"),
    ],
)
def test_how_a_key_is_written(key: str, written: str) -> None:
    assert lower_case_safe(key, 255) == written


@given(st.text(st.sampled_from("aA^é"), min_size=1, max_size=200), st.integers(64, 90))
def test_a_key_that_would_be_too_long_ends_in_its_digest(key: str, limit: int) -> None:
    written = lower_case_safe(key, limit)
    assert len(written) <= limit
    assert written == written.lower()
    if len(lower_case_safe(key, 10_000)) > limit:
        assert written.endswith(f"^~{hashed(key)[:32]}")
    else:
        assert "^~" not in written


@pytest.mark.parametrize(
    ("writing", "make"),
    [("as_is", str), ("hash", hashed), ("lower_case_safe", lambda key: lower_case_safe(key, 64))],
)
def test_the_writings(writing: Any, make: Callable[[str], str]) -> None:
    assert writer(writing, 64)("Some:Key" * 9) == make("Some:Key" * 9)


# --- statuses


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (202, {202}),
        ("202", {202}),
        (["200", "204"], {200, 204}),
        ("200-202", {200, 201, 202}),
        ("5XX", set(range(500, 600))),
        ([], set()),
    ],
)
def test_statuses(given: Any, meant: set[int]) -> None:
    assert statuses(given) == meant


@pytest.mark.parametrize("given", ["6xx", "20", "2000", "204-200", "", None, True, {}, ["200", "ok"], "-200", 99])
def test_refused_statuses(given: Any) -> None:
    with pytest.raises(ValueError, match="must be statuses such as"):
        statuses(given)
