"""Whoever follows CONTRIBUTING.md into the code finds it: each file, class and function that it names exists."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "consumer", "providers", "state", "tests", "deploy")
PAPER = (ROOT / "CONTRIBUTING.md").read_text()
TREE = PAPER.split("```")[1]
"""The list of folders, and of files in them, in the order in which they import each other."""

TEXT = PAPER.replace(TREE, "")

ELSEWHERE = {"CI", "CI_WITHOUT"}
"""Variables of the environment, which scripts set."""

SUFFIX = r"\.(?:py|md|yaml|json|toml)"
ROW = re.compile(r"^\| [^|]* \| `([\w/.]+)`(?:, ([^|]*))? \|$", re.MULTILINE)
"""A line of "Where is it?": the file, and names in it."""


class Names:
    """Whatever the Python files of some folders define, at any depth."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.members: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, tree: ast.AST, owner: str | None = None) -> "Names":
        """Take in what this part of a program defines; ``owner`` is the class that it is directly in."""
        for node in ast.iter_child_nodes(tree):
            inner = None
            match node:
                case ast.ClassDef(name=name):
                    found, inner = [name], name
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found = [name]
                case ast.Assign(targets=targets):
                    found = [one.id for one in targets if isinstance(one, ast.Name)]
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found = [name]
                case _:
                    found = []
            self.all.update(found)
            if owner is not None:
                self.members[owner].update(found)
            self.take(node, inner)
        return self

    def has(self, name: str) -> bool:
        """Whether there is such a name, or ``Class.member``."""
        owner, _, member = name.rpartition(".")
        return member in (self.members.get(owner, ()) if owner else self.all)


@cache
def names_in(path: Path) -> Names:
    return Names().take(ast.parse(path.read_text()))


@cache
def all_names() -> Names:
    found = Names()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        found.take(ast.parse(path.read_text()))
    return found


@cache
def file_names() -> set[str]:
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")}


def is_there(named: str) -> bool | None:
    """Whether the file, class, method or function that the paper calls so exists; None for words of another kind."""
    if "/" in named and re.fullmatch(r"[\w./<>-]+", named):
        return any(ROOT.glob(re.sub(r"<\w+>", "*", named.rstrip("/"))))
    if re.fullmatch(rf"[\w.-]+{SUFFIX}", named):
        return (ROOT / named).exists() or named in file_names()
    if re.fullmatch(r"(?:[a-z_]+\.)+[A-Z]\w*", named):
        module, _, name = named.rpartition(".")
        path = ROOT / f"{module.replace('.', '/')}.py"
        return path.exists() and names_in(path).has(name)
    if re.fullmatch(r"[A-Z]\w*\.\w+|[A-Z]\w*|_[a-z]\w*|[a-z]\w*_\w*", named) and named not in ELSEWHERE:
        return all_names().has(named)
    return None


def in_table() -> Iterator[tuple[str, str]]:
    """The files that "Where is it?" names, each with one of the names that are said to be in it."""
    for file, names in ROW.findall(TEXT):
        for name in re.findall(r"`([\w.]+)`", names):
            yield file, name


def in_tree() -> Iterator[str]:
    """The paths of the folders in the list of them, and of the files that are named beside each."""
    folders: list[str] = []
    for line in TREE.splitlines():
        if begins := re.match(r"( {0,4})([\w/]+/) ", line):
            folders[len(begins[1]) // 2 :] = [begins[2]]
            yield "".join(folders)
        for name in re.findall(rf"[\w/]+{SUFFIX}\b", line):
            yield "".join(folders) + name


def test_what_is_named_in_backquotes_exists() -> None:
    named = {word: is_there(word) for word in re.findall(r"`([^`\s]+)`", TEXT)}

    assert [word for word, found in named.items() if found is False] == []
    assert sum(found is True for found in named.values()) > 80


def test_each_row_of_where_is_it_names_something_of_its_file() -> None:
    rows = list(in_table())

    assert [(file, name) for file, name in rows if not names_in(ROOT / file).has(name)] == []
    assert len(rows) > 15


def test_each_file_of_the_house_is_in_the_folder_that_it_is_named_in() -> None:
    paths = list(in_tree())

    assert [path for path in paths if not (ROOT / PurePosixPath(path)).exists()] == []
    assert len(paths) > 80


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("Pipeline.decide", True),
        ("providers/masking.py", True),
        ("deploy/examples/http-<name>.yaml", True),
        ("providers.provider.Provider", True),
        ("Unanswered", True),
        ("_percent_encoded", True),
        ("page.py", True),
        ("await", None),
        ("Pipeline.decode_everything", False),
        ("providers/unmasking.py", False),
        ("deploy/examples/<name>/nowhere.yaml", False),
        ("providers.provider.Nobody", False),
        ("providers.nowhere.Provider", False),
        ("Unasked", False),
        ("_per_mille_encoded", False),
        ("nowhere.py", False),
    ],
)
def test_a_name_that_is_made_up_is_found(named: str, found: bool | None) -> None:
    assert is_there(named) is found
