"""Whoever is sent to the design finds it: each section, item and name that a docstring or a paper points to is there.

A reference reads ``design section 6.4``, ``design sections 6, 8 and 13``, ``design section 17, rule 6`` or ``design
section 13, "Rates"``. It may go over several lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("consumer", "providers", "state", "tests", "deploy")
PAPERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "DESIGN.md", "Makefile", "pyproject.toml")
SUFFIXES = {".py", ".md", ".yaml"}
SECTIONS = 23

NUMBERS = r"\d+(?:\.\d+)?(?:(?:, and|,| and) \d+(?:\.\d+)?)*"
DETAIL = r"(?:(?:,| and) (?:\"[^\"]+\"|rule \d+))*"
REFERENCE = re.compile(rf"\bdesign(?:\.md)?,? sections? ({NUMBERS})({DETAIL})", re.IGNORECASE)
MENTION = re.compile(r"\bdesign(?:-2)?(?:\.md)?,? sections? ", re.IGNORECASE)
OWN = re.compile(rf"\bsections? ({NUMBERS})({DETAIL})")
"""How the design names its own sections."""

OUTSIDE = re.compile(r"\bdesign-2\b|\bshared/|\bkafka-facts\b|\bproviders\.md\b|\balert_model\b|\bissue [A-Z0-9]+\b")
"""What a reader of this repository does not have."""


@dataclass(frozen=True)
class Reference:
    """To sections, or items of them, and to rules and names that have to be in one of these."""

    path: str
    numbers: tuple[str, ...]
    rules: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: str, found: re.Match[str]) -> "Reference":
        """What a match of `REFERENCE` or `OWN` says."""
        return cls(
            path,
            tuple(re.findall(r"\d+(?:\.\d+)?", found[1])),
            tuple(re.findall(r"rule (\d+)", found[2])),
            tuple(re.findall(r"\"([^\"]+)\"", found[2])),
        )

    def __str__(self) -> str:
        details = [*(f"rule {number}" for number in self.rules), *(f'"{name}"' for name in self.names)]
        return f"{self.path}: {', '.join([*self.numbers, *details])}"


class Design:
    """The sections of DESIGN.md by their numbers."""

    def __init__(self, text: str) -> None:
        parts = re.split(r"^## (\d+)\. ", text, flags=re.MULTILINE)
        self.order = parts[1::2]
        self._sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def has(self, number: str) -> bool:
        """Whether there is such a section (``6``), or such an item of one (``6.4``): a heading, or one of a list."""
        section, _, item = number.partition(".")
        text = self._sections.get(section)
        if text is None or not item:
            return text is not None
        return re.search(rf"^(?:### {section}\.{item} |{item}\. )", text, re.MULTILINE) is not None

    def names(self, section: str, name: str) -> bool:
        """Whether the section has something of this name: a bold beginning, or the first cell of a table."""
        pattern = rf"\*\*{re.escape(name)}\b|^\| {re.escape(name)} \|"
        return re.search(pattern, self._sections.get(section, ""), re.MULTILINE) is not None


def design() -> Design:
    return Design((ROOT / "DESIGN.md").read_text())


def files() -> Iterator[Path]:
    """Everything that a reader may follow a reference from; this file has some that lead nowhere."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    return (path for path in [*found, *(ROOT / paper for paper in PAPERS)] if path != Path(__file__))


def flowing(text: str) -> str:
    """A text as it reads: line breaks, and the marks of comments, are spaces."""
    return re.sub(r"\s*\n\s*(?:#+ )?", " ", text)


@cache
def prose(path: Path) -> str:
    return flowing(path.read_text())


def references(path: Path, pattern: re.Pattern[str] = REFERENCE) -> list[Reference]:
    return [Reference.of(str(path.relative_to(ROOT)), found) for found in pattern.finditer(prose(path))]


def is_there(reference: Reference, design: Design) -> bool:
    sections = [number.partition(".")[0] for number in reference.numbers]
    return (
        all(design.has(number) for number in reference.numbers)
        and all(any(design.has(f"{section}.{rule}") for section in sections) for rule in reference.rules)
        and all(any(design.names(section, name) for section in sections) for name in reference.names)
    )


def test_each_reference_points_to_something_that_is_there() -> None:
    there = design()
    found = [reference for path in files() for reference in references(path)]

    assert [str(reference) for reference in found if not is_there(reference, there)] == []
    assert len(found) > 150


def test_no_reference_is_written_in_another_way() -> None:
    for path in files():
        mentions, found = len(MENTION.findall(prose(path))), len(references(path))
        assert mentions == found, f"{path.relative_to(ROOT)} names a section of the design in another way"


def test_the_design_points_to_its_own_sections() -> None:
    there = design()
    found = references(ROOT / "DESIGN.md", OWN)

    assert [str(reference) for reference in found if not is_there(reference, there)] == []
    assert len(found) > 15


def test_the_sections_are_numbered_without_a_gap() -> None:
    assert design().order == [str(number) for number in range(1, SECTIONS + 1)]


def test_the_files_that_the_design_names_exist() -> None:
    named = re.findall(r"`((?:tests|deploy)/[\w/.-]*|[A-Z]+\.md)`", (ROOT / "DESIGN.md").read_text())

    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(named) > 8


def test_nothing_points_out_of_the_repository() -> None:
    found = [f"{path.relative_to(ROOT)}: {words}" for path in files() for words in OUTSIDE.findall(prose(path))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("design section 6.4", True),
        ("design sections 6.2 and 17, \"Versions\"", True),
        ("design section 17, rule 7", True),
        ("(design section\n# 13, \"The route\n# check\")", True),
        ("design section 5.7", True),
        ("design section 24", False),
        ("design section 6.10", False),
        ("design section 5.8", False),
        ("design sections 2, 3 and 99", False),
        ("design section 17, rule 8", False),
        ("design section 13, \"Rules\"", False),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_found(text: str, is_right: bool) -> None:
    found = REFERENCE.search(flowing(text))
    assert found is not None
    assert is_there(Reference.of("here", found), design()) is is_right
