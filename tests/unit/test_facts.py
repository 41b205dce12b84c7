"""The facts of an event by their names: the same for keys, templates and silences."""

from operator import attrgetter
from typing import Any

import pytest

from consumer.events.keys import value_of
from consumer.silences.silence import FIELDS
from providers.configured.facts import OF_TRIGGER
from providers.template import Template
from state.facts import KEY_FIELDS, LABEL, fact_of, is_label, text_of
from state.violation import Severity, Violation


def violation(**facts: Any) -> Violation:
    given = {name: f"the {name}" for name in Violation.__struct_fields__}
    others = {"severity": Severity.HIGH, "allowed": False, "resource_port": 443, "labels": {"team": "red"}}
    return Violation(**{**given, **others, **facts})


@pytest.mark.parametrize("name", sorted(set(Violation.__struct_fields__) - {"severity", "allowed", "labels"}))
def test_every_fact_of_an_event_is_got_by_its_name(name: str) -> None:
    whole = violation()
    assert fact_of(name)(whole) == getattr(whole, name)
    assert text_of(name)(whole) == str(getattr(whole, name))
    assert name in OF_TRIGGER.facts


@pytest.mark.parametrize(
    ("name", "fact", "text"),
    [
        ("resource", "the resource_name", "the resource_name"),
        ("severity", Severity.HIGH, "high"),
        ("resource_port", 443, "443"),
        ("label.team", "red", "red"),
        ("label.nobody", None, None),
    ],
)
def test_what_has_another_name_or_is_no_text(name: str, fact: object, text: str | None) -> None:
    assert (fact_of(name)(violation()), text_of(name)(violation())) == (fact, text)


def test_what_the_event_lacks_is_none() -> None:
    lacking = violation(tenant_id=None, resource_port=None, labels={})
    assert [text_of(name)(lacking) for name in ("tenant_id", "resource_port", "label.team")] == [None, None, None]


@pytest.mark.parametrize("name", KEY_FIELDS)
def test_a_key_and_a_text_for_people_have_the_same_of_an_event(name: str) -> None:
    assert value_of(name)(violation()) == Template(f"{{{name}}}").text(violation())


def test_what_a_silence_can_name_can_also_tell_problems_apart() -> None:
    assert set(FIELDS) < set(KEY_FIELDS)


def test_a_fact_with_its_own_name_costs_no_call_of_python() -> None:
    got = {name for name in KEY_FIELDS if isinstance(text_of(name), attrgetter)}
    assert got == set(KEY_FIELDS) - {"severity"}


def test_a_label_has_a_name() -> None:
    assert [is_label(name) for name in ("label.team", "label..", LABEL, "label", "guard")] == [
        True, True, False, False, False,
    ]  # fmt: skip
