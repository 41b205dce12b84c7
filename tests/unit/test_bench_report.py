"""What the bench prints, and reads of another commit's bench."""

from tests.bench.against import read
from tests.bench.report import Row, markdown, table

ROWS = [
    Row("firehose, ignored events", 2.41, "µs", 3.4, at_most=0.65, of_ratio=True),
    Row("restore of 1,000,000 alerts", 10_123.4, "ms"),
]


def test_what_is_printed_is_read_again() -> None:
    printed = f"measuring firehose …\n{table(ROWS)}\n"
    assert read(printed) == {"firehose, ignored events": 2.41, "restore of 1,000,000 alerts": 10123.0}


def test_another_commit_stands_beside_where_it_has_the_figure() -> None:
    rows = [Row("a", 3.0, "s", before=2.0), Row("b", 3.0, "s")]
    head, first, second = (line.split() for line in table(rows).splitlines())
    assert head[-3:] == ["before", "to", "before"]
    assert first == ["a", "3", "s", "2", "1.50"]
    assert second == ["b", "3", "s"]


def test_a_page_has_a_line_for_each_row() -> None:
    assert markdown(ROWS).splitlines()[2:] == [
        "| firehose, ignored events | 2.41 | µs | 3.4 | 0.71 | ≤ 0.65 (ratio) | no |",
        "| restore of 1,000,000 alerts | 10,123 | ms |  |  |  |  |",
    ]
