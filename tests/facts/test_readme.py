"""Each test that the paper names exists, each fact says what shows it, and the sections that it names are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAPER = Path(__file__).with_name("README.md").read_text()
NOT_SHOWN = "not shown by a test"


def facts() -> list[tuple[str, str]]:
    """Each fact, and what the paper says of what shows it."""
    rows = re.findall(r"^\| (.+) \| (.+) \|$", PAPER, re.MULTILINE)
    return [(fact, shown) for fact, shown in rows if fact != "fact"]


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAPER)

    missing = [
        f"{path}::{test}"
        for path, test in named
        if not re.search(rf"^(?:async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]

    assert missing == []
    assert len(named) > 60


def test_each_fact_is_shown_by_a_test_or_said_not_to_be() -> None:
    wrong = [fact for fact, shown in facts() if not re.search(r"`tests/\S+::\w+`", shown) and NOT_SHOWN not in shown]

    assert wrong == []
    assert len(facts()) > 50


def test_each_test_of_this_folder_shows_a_fact() -> None:
    for name in ("test_client.py", "test_broker.py"):
        for test in re.findall(
            r"^(?:async )?def (test_\w+)\(", Path(__file__).with_name(name).read_text(), re.MULTILINE
        ):
            assert f"`tests/facts/{name}::{test}`" in PAPER


def test_the_sections_that_it_names_are_there() -> None:
    design = (ROOT / "DESIGN.md").read_text()
    for fact, _ in facts():
        for number in re.findall(r"\d+(?:\.\d+)?", found[0] if (found := re.findall(r"\(([\d., ]+)\)$", fact)) else ""):
            heading = rf"^### {number} " if number.startswith("6.") else rf"^## {number.partition('.')[0]}\. "
            assert re.search(heading, design, re.MULTILINE), f"{fact}: there is no section {number}"
