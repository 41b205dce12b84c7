"""The rooms of the house: which package may import which, as CONTRIBUTING.md draws them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOOK = (ROOT / "CONTRIBUTING.md").read_text()

ORDER: tuple[frozenset[str], ...] = tuple(
    frozenset(level.split())
    for level in (
        "cli",
        "status demo",
        "service",
        "receivers.ingest receivers.webhooks tuning",
        "group tasks.repartition receivers.posts",
        "tasks.partition",
        "tasks.alerting tasks.homes",
        "deciding replay",
        "feedback silences",
        "dlq input history",
        "kafka",
        "config",
        "events",
        "telemetry",
        "providers",
        "state timing",
    )
)
"""From the front door down: each imports only what stands below it, or itself."""


def room(module: str) -> str:
    """The room of a module: a folder of `consumer`, a folder in such a folder where the order names it, or another
    package."""
    package, *parts = module.split(".")
    if package != "consumer" or not parts:
        return package
    return inner if (inner := ".".join(parts[:2])) in LEVEL else parts[0]


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("consumer", "providers", "state"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, file


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "consumer":
                yield from (f"consumer.{alias.name}" for alias in node.names)
            elif node.module.split(".")[0] in ("consumer", "providers", "state"):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in ("consumer", "providers"))


LEVEL = {name: number for number, level in enumerate(ORDER) for name in level}


@pytest.mark.parametrize(
    ("module", "file"), [pair for pair in modules() if pair[0] != "consumer"], ids=lambda it: str(it)
)
def test_no_arrow_runs_back_up(module: str, file: Path) -> None:
    here = room(module)
    up = {
        other
        for other in imported(file)
        if room(other) != here and room(other) != "consumer" and LEVEL[room(other)] <= LEVEL[here]
    }
    assert not up, f"{module} is in {here}, which stands below {sorted(up)} or beside"


def test_the_book_leads_to_every_room_and_every_module_that_it_names_is_there() -> None:
    drawn = BOOK.partition("## The house")[2].partition("## ")[0]
    rooms = {path.parent.name for path in (ROOT / "consumer").rglob("__init__.py")}
    assert {name for name in rooms if f"{name}/" not in drawn} == set()
    named = re.findall(r"`((?:consumer|providers|state|tests)/[\w./]+)`", BOOK)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("path", "name"), re.findall(r"`([\w./]+\.py)`, `([\w.]+)`", BOOK))
def test_what_the_book_points_at_is_there(path: str, name: str) -> None:
    """A line such as "`consumer/deciding/pipeline.py`, `Pipeline.decide`"."""
    *owner, last = name.split(".")
    tree: ast.AST = ast.parse((ROOT / path).read_text())
    for part in (*owner, last):
        tree = next(
            node
            for node in ast.walk(tree)
            if (isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == part)
        )
