"""The docstrings of the packages say in a sentence which errors are raised, and when."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

MAY_MATTER = re.compile(r"\b[Rr]aises\b")

BLOCK = re.compile(r"^\s*Raises:", re.MULTILINE)

_NAME = r"(?:aiokafka's )?`?(?!nothing\b)[A-Za-z_]\w*(?:\.\w+)*`?"

NO_CONDITION = re.compile(rf"\b[Rr]aises {_NAME}(?:(?:, and |, or |, | and | or ){_NAME})*(?:\.(?=\s|\Z)|\Z)")
"""A sentence that names errors and nothing else: it does not say when they are raised."""


def docstrings_in(source: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each docstring, also of those that stand below fields and constants."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            match one:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield one.lineno, text


def without_condition(docstring: str) -> bool:
    return NO_CONDITION.search(re.sub(r"\s+", " ", docstring)) is not None


@cache
def docstrings() -> Sequence[tuple[str, str]]:
    """The place and the text of each docstring. Files without a word about errors are not parsed: that is slow."""
    return [
        (f"{file.relative_to(ROOT)}:{line}", text)
        for package in ("consumer", "providers", "state")
        for file in sorted((ROOT / package).rglob("*.py"))
        if MAY_MATTER.search(source := file.read_text())
        for line, text in docstrings_in(source)
    ]


def test_no_docstring_has_a_block_of_errors() -> None:
    assert [place for place, text in docstrings() if BLOCK.search(text)] == []


def test_each_docstring_that_names_errors_says_when_they_are_raised() -> None:
    assert [place for place, text in docstrings() if without_condition(text)] == []


def test_a_block_is_found() -> None:
    [(_, text)] = docstrings_in('def a():\n    """A.\n\n    Raises:\n        ValueError: never.\n    """\n')
    assert BLOCK.search(text)


def test_a_sentence_without_a_condition_is_found() -> None:
    assert without_condition("Connect. Raises KafkaError.")
    assert without_condition("Connect. Raises `KafkaError`,\n    `OSError` and `TimeoutError`. Then wait.")
    assert without_condition("Raises aiokafka's `CorruptRecordException`")
    assert without_condition("Raises `providers.table.UnusableProvider`.")
    assert not without_condition("Connect. Raises `KafkaError` if no broker answers.")
    assert not without_condition("Connect. Raises nothing.")
    assert not without_condition("Raises what the clients raise if Kafka does not answer.")
