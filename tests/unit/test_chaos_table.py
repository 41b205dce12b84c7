"""The page of results of `make chaos`."""

from tests.chaos.account import Account
from tests.chaos.table import Row, page


def rows(events: int) -> list[Row]:
    return [Row("`kill -9`", 2, Account(events, 5), 1.0)]


def test_a_run_takes_the_place_of_the_one_before_with_as_many_brokers() -> None:
    first = page("# Results\n\nWhat the columns say.\n", rows(10), 1, "Seed 1.")
    both = page(first, rows(20), 3, "Seed 2.")
    again = page(both, rows(30), 1, "Seed 3.")
    assert again.startswith("# Results\n\nWhat the columns say.\n\n## One broker\n\nSeed 3.\n\n| fault |")
    assert again.count("## One broker\n") == again.count("## 3 brokers\n") == 1
    assert "Seed 1." not in again
    assert "| `kill -9` | 2 | 20 | 5 |" in again
    assert "| `kill -9` | 2 | 30 | 5 |" in again
    assert "| all | 2 | 30 | 5 |" in again
    assert page(again, rows(30), 1, "Seed 3.") == again
