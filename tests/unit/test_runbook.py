"""The operator's book has each warning and each error that the log can have, and no other."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOOK = (ROOT / "deploy" / "README.md").read_text()
BOOKS = "\n".join(book.read_text() for book in sorted((ROOT / "deploy").glob("*.md")))
RESULTS = (ROOT / "tests" / "chaos" / "RESULTS.md").read_text()


@cache
def logged() -> set[str]:
    """What is said as a warning or an error: by its name, or by a name that was chosen a line before."""
    found: set[str] = set()
    for file in [*(ROOT / "consumer").rglob("*.py"), *(ROOT / "providers").rglob("*.py")]:
        tree = ast.parse(file.read_text())
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
            for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
                if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("warning", "error") and call.args):
                    continue
                said = call.args[0]
                if isinstance(said, ast.Name):
                    chosen = [
                        node.value
                        for node in ast.walk(function)
                        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == said.id
                    ]
                    found |= {name for one in chosen for leaf in ast.walk(one) if (name := _name(leaf)) is not None}
                elif (name := _name(said)) is not None:
                    found.add(name)
    return found


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("[a-z_]+", node.value):
        return node.value
    return None


def described() -> list[str]:
    book = BOOK[BOOK.index("## The log, word by word") :].split("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", book, re.MULTILINE)


def test_each_warning_and_error_is_in_the_book_once_in_the_order_of_the_alphabet() -> None:
    assert len(logged()) > 70
    assert set(described()) - logged() == set(), "nothing says that any more"
    assert logged() - set(described()) == set(), "somebody will look for it at three in the morning"
    assert described() == sorted(set(described()))


def test_what_the_book_says_was_measured_is_what_the_results_report() -> None:
    measured = BOOK[BOOK.index("Measured, and where it is from") : BOOK.index("Aimed at, and measured")]
    figures = re.findall(r"\d[\d,.]*\d(?= (?:MiB|s |s\b|open|to 560|events))", measured)
    assert len(figures) > 10
    for figure in {*figures} - {"15", "30"}:
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d,])", RESULTS), figure


def test_what_the_book_says_is_aimed_at_is_what_the_bench_asks_for() -> None:
    (aims,) = re.findall(r"^Aimed at.*?(?=\n\n)", BOOK, re.MULTILINE | re.DOTALL)
    bench = "".join(
        (ROOT / "tests" / "bench" / f"{name}.py").read_text() for name in ("dispatch", "firehose", "restore")
    )
    for said, asked in (
        ("everyday traffic in 0.65 of", "ratio=0.65"),
        ("80,000 denials a second", "per_second=80_000"),
        ("sent in 1.35 of", "CPU_AT_MOST = 1.35"),
        ("restore in 0.65 of", "SECONDS_AT_MOST = 0.65"),
        ("500 bytes for each alert", "BYTES_AT_MOST = 500"),
    ):
        assert said in aims
        assert asked in bench


def test_settings_that_the_books_name_exist() -> None:
    reference = (ROOT / "deploy" / "examples" / "reference.yaml").read_text()
    for name in re.findall(r"`(?:kafka|delivery)\.([a-z_.]+)`", BOOKS):
        assert re.search(rf"^\s*#?\s*{name.split('.')[-1]}:", reference, re.MULTILINE), name


def test_each_line_says_what_it_means_and_what_to_do() -> None:
    reasons = BOOK[BOOK.index("## Is anybody paged?") : BOOK.index("## How is it?")]
    for line in reasons.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 3, line
            assert all(cells), line
