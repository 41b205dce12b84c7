"""Each link of a paper leads somewhere: to a file that is there, and to a heading that it has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "deploy").glob("*.md")), *sorted((ROOT / "tests").rglob("*.md"))]
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def anchors(paper: Path) -> list[str]:
    """The headings of a paper, as GitHub names them in an address."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", paper.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(paper: Path) -> Iterator[str]:
    """Where its links within the repository lead."""
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", paper.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


def leads_somewhere(paper: Path, target: str) -> bool:
    """Whether a link of this paper has an end."""
    path, _, anchor = target.partition("#")
    there = paper.parent / path if path else paper
    return there.exists() and (not anchor or anchor in anchors(there))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_each_link_leads_somewhere(paper: Path) -> None:
    assert [target for target in links(paper) if not leads_somewhere(paper, target)] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_no_heading_is_there_twice(paper: Path) -> None:
    names = anchors(paper)
    assert [name for name in {*names} if names.count(name) > 1 and f"#{name}" in paper.read_text()] == []


def test_the_operators_book_leads_to_each_of_its_sections_and_to_the_other_books() -> None:
    book = ROOT / "deploy" / "README.md"
    sections = re.findall(r"^## (.+)$", CODE.sub("", book.read_text()), re.MULTILINE)
    listed = re.findall(r"^\* \[(.+?)\]\(#", book.read_text(), re.MULTILINE)
    assert listed == sections
    others = {paper.name for paper in book.parent.glob("*.md")} - {book.name}
    assert others <= {*links(book)}


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("deploy/README.md#when-you-change-", True),
        ("#run-it-for-real", True),
        ("deploy/README.md#where-nothing-is", False),
        ("deploy/nothing.md", False),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target: str, leads: bool) -> None:
    assert leads_somewhere(ROOT / "README.md", target) is leads
