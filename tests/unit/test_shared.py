"""Texts that very many alerts have are one value, and nobody can have any number of them remembered."""

from state.shared import TEXTS, shared


def test_equal_texts_are_one_value() -> None:
    first = shared("".join(["forbidden", "_path"]))
    assert shared("".join(["forbidden_", "path"])) is first


def test_no_more_are_remembered_than_so_many() -> None:
    for number in range(TEXTS + 100):
        assert shared(f"guard {number}") == f"guard {number}"
    assert shared.cache_info().currsize == TEXTS
