"""Key templates and the promise of a key: different values, different keys (design section 7)."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.events.keys import KeyTemplate
from providers.template import check_template
from state.facts import KEY_FIELDS
from state.violation import Severity

PAGERDUTY_LIMIT = 255

EVENT = {
    "guard": "secret_leak",
    "session_id": "sess-1",
    "resource_name": "/etc/shadow",
    "tenant_id": "acme",
    "event_type": "secret_detected",
    "severity": Severity.CRITICAL,
    "agent_id": "agent-7",
    "runtime_agent_id": "sub-1",
    "runtime_agent_kind": "browser",
    "user_id": "alice",
    "environment": "production",
    "resource_type": "file",
    "ruleset": "strict",
    "labels": {"team": "platform"},
}


def event(**changes: Any) -> Any:
    return SimpleNamespace(**{**EVENT, **changes})


def key(template: str, limit: int | None = None, **changes: Any) -> str:
    return KeyTemplate.parse(template, limit).render(event(**changes))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{guard}:{session_id}", "secret_leak:sess-1"),
        ("clawdstrike-{guard}-{session_id}", "clawdstrike-secret_leak-sess-1"),
        ("{guard}:{tenant_id}:{resource}", "secret_leak:acme:/etc/shadow"),
        ("{event_type}/{severity}", "secret_detected/critical"),
        ("{agent_id}|{user_id}|{environment}", "agent-7|alice|production"),
        ("{resource_type} {ruleset} {label.team}", "file strict platform"),
        ("everything", "everything"),
        ("[{guard}]", "[secret_leak]"),
    ],
)
def test_renders(template: str, expected: str) -> None:
    assert key(template) == expected


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("{guard}:{session_id}", {"guard", "session_id"}),
        ("{guard}:{label.team}:{guard}", {"guard", "label.team"}),
        ("constant", set()),
    ],
)
def test_knows_its_fields(template: str, fields: set[str]) -> None:
    assert KeyTemplate.parse(template).fields == fields


def test_takes_every_documented_field() -> None:
    template = KeyTemplate.parse(" / ".join(f"{{{name}}}" for name in KEY_FIELDS))
    assert "default" not in template.render(event())


@pytest.mark.parametrize("lacking", [None, ""])
def test_what_the_event_lacks_is_default(lacking: str | None) -> None:
    assert key("{guard}:{tenant_id}", tenant_id=lacking) == "secret_leak:default"
    assert key("{label.missing}") == "default"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "must not be empty"),
        ("{guard}:{sesion_id}", r"unknown placeholder \{sesion_id\}: choose from \{guard\}"),
        ("{}", r"unknown placeholder \{\}"),
        ("{label.}", r"unknown placeholder \{label\.\}"),
        ("{ guard }", r"unknown placeholder \{ guard \}"),
        ("{guard}{session_id}", r"\{guard\} and \{session_id\} touch"),
        ("{guard", "unbalanced brace"),
        ("guard}", "unbalanced brace"),
        ("{{guard}}", "unbalanced brace"),
        ("{guard}%{session_id}", "must not contain '%'"),
        ("100%:{guard}", "must not contain '%'"),
        ("\0checkpoint", "invisible"),
        ("{guard}\n{session_id}", "invisible"),
        ("{guard}\ud800", "invisible"),
    ],
)
def test_a_wrong_template_is_refused_in_one_line(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        KeyTemplate.parse(template)
    assert "\n" not in str(refusal.value)


def test_a_limit_without_room_for_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64"):
        KeyTemplate.parse("{guard}", 63)


@pytest.mark.parametrize(
    ("template", "first", "second"),
    [
        ("{guard}-{session_id}", ("a", "b-c"), ("a-b", "c")),
        ("{guard}-{session_id}", ("a-", "b"), ("a", "-b")),
        ("{guard}:{session_id}", ("a%3A", "b"), ("a:", "b")),
        ("{guard}--{session_id}", ("a-", "b"), ("a", "-b")),
        ("{guard}2{session_id}", ("%", "x"), ("%25", "x")),
        ("{guard}é{session_id}", ("aé", "b"), ("a%C3%A9", "b")),
    ],
)
def test_no_crafted_name_hides_behind_another_alert(
    template: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    keys = [key(template, guard=guard, session_id=session) for guard, session in (first, second)]
    assert keys[0] != keys[1]


def test_encodes_only_what_is_ambiguous_or_invisible() -> None:
    assert key("{guard}-{session_id}", guard="a-b:c", session_id="d-e%f\tg\x00") == "a%2Db:c-d-e%25f%09g%00"


def test_no_key_is_that_of_the_checkpoint() -> None:
    assert key("{session_id}", session_id="\0checkpoint") == "%00checkpoint"


def test_a_key_over_the_limit_keeps_a_prefix_and_ends_in_a_digest() -> None:
    long = key("{guard}:{session_id}", PAGERDUTY_LIMIT, session_id="s" * 300)
    assert re.fullmatch(r"secret_leak:s+%~[0-9a-f]{32}", long)
    assert len(long) == PAGERDUTY_LIMIT


def test_a_key_at_the_limit_is_left_alone() -> None:
    assert key("{session_id}", 64, session_id="s" * 64) == "s" * 64


def test_the_limit_counts_bytes_so_no_provider_counts_more() -> None:
    assert len(key("{session_id}", 64, session_id="\U0001f600" * 20).encode()) <= 64


def test_a_shortened_key_cannot_be_given_as_a_name() -> None:
    long = key("{guard}:{session_id}", PAGERDUTY_LIMIT, session_id="s" * 300)
    forged = key("{guard}:{session_id}", PAGERDUTY_LIMIT, session_id=long.removeprefix("secret_leak:"))
    assert forged != long


# Texts of few letters, so that the search meets what matters: separators, escapes, digits of escapes, the mark.
TRICKY = st.text(alphabet="a-:%~25ADé\0\n\ud800", min_size=1, max_size=12)
VALUES = st.one_of(TRICKY, st.text(min_size=1), st.text(alphabet="a-%", min_size=60, max_size=90))
SHAPES = [
    ("", ":", ""),
    ("clawdstrike-", "-", ""),
    ("", "2", ""),
    ("", "A", "A"),
    ("", "~", ""),
    ("", "é", "-"),
    ("--",) * 3,
]
TEMPLATES = st.sampled_from([f"{head}{{guard}}{literal}{{session_id}}{tail}" for head, literal, tail in SHAPES])


@given(shape=st.sampled_from(SHAPES), limit=st.sampled_from([None, 64, 255]), words=st.tuples(VALUES, VALUES, VALUES))
def test_different_values_never_render_the_same_key(
    shape: tuple[str, str, str], limit: int | None, words: tuple[str, str, str]
) -> None:
    head, literal, tail = shape
    template = KeyTemplate.parse(f"{head}{{guard}}{literal}{{session_id}}{tail}", limit)
    first = (words[0], words[1] + literal + words[2])
    whole = template.render(event(guard=first[0], session_id=first[1]))
    encoded = key(f"{{guard}}{literal}{{session_id}}", guard=first[0], session_id=first[1]).split(literal, 1)
    forgeries = {
        "cut elsewhere": (words[0] + literal + words[1], words[2]),
        "already encoded": (encoded[0], encoded[1]),
        "half encoded": (encoded[0], first[1]),
        "what was rendered": (words[0], whole.removeprefix(f"{head}{words[0]}{literal}")),
        "something else": (words[1], words[2]),
    }
    for name, (guard, session_id) in forgeries.items():
        same = template.render(event(guard=guard, session_id=session_id)) == whole
        assert same is ((guard, session_id) == first), name


@given(template=TEMPLATES, values=st.tuples(VALUES, VALUES))
@example(template="{guard}~{session_id}", values=("%", "~"))
def test_a_key_is_never_empty_and_always_fit_for_kafka_and_logs(template: str, values: tuple[str, str]) -> None:
    rendered = key(template, 64, guard=values[0], session_id=values[1])
    assert 0 < len(rendered.encode()) <= 64
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", rendered)


@pytest.mark.parametrize(
    "template", ["https://console.example/{event_id}", "{reason}{label.team} 100%", "constant", "{resource_port}"]
)
def test_a_text_template_takes_every_fact(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [("", "empty"), ("{event-id}", r"unknown placeholder \{event-id\}"), ("{event_id", "unbalanced brace")],
)
def test_a_wrong_text_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_template(template)
