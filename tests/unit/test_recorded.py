"""Recorded events: lines, files, and the order of their times."""

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.tuning import files
from consumer.tuning.bounds import Bound
from consumer.tuning.files import Export, FileTrouble, records_in
from consumer.tuning.lines import BrokenLine, line_of, record_of
from consumer.tuning.order import ENOUGH, InOrder, Timed, Times
from state.violation import Record
from tests.support.events import encode, event

AT = 1_790_000_000_000
LATEST = AT / 1000 + 86_400

some_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=6,
)
values = (
    st.none()
    | st.binary(max_size=40)
    | some_json.map(lambda value: json.dumps(value).encode())
    | some_json.map(lambda value: json.dumps(value, indent=1, ensure_ascii=False).encode())
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), some_json).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode()
    )
)
records = st.builds(
    Record,
    topic=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(max_size=5) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    value=values,
    headers=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.none() | st.binary(max_size=4)),
        max_size=2,
    ).map(tuple),
)


@given(records)
def test_a_line_holds_the_record_byte_for_byte(record: Record) -> None:
    line = line_of(record)
    assert b"\n" not in line
    assert record_of(line, 1) == record
    json.loads(line)


def test_an_events_line_is_for_people_too() -> None:
    value = encode(event(at=AT / 1000))
    line = line_of(Record("events", 3, 7, AT, b"s-1", value))
    assert line.startswith(
        b'{"record":{"topic":"events","partition":3,"offset":7,"timestamp":1790000000000,"key":"s-1"}'
    )
    assert json.loads(line)["value"] == json.loads(value)


def test_an_event_alone_has_its_own_time() -> None:
    value = encode(event(at=AT / 1000))
    assert record_of(value, 5) == Record("", 0, 5, AT, None, value)
    for timestamp in ("yesterday", None, 7):
        assert record_of(encode({**event(), "timestamp": timestamp}), 1).timestamp == 0


def test_an_event_may_have_members_of_any_name() -> None:
    odd = encode({**event(at=AT / 1000), "value_base64": 7, "zrecord": 1})
    assert record_of(odd, 1).value == odd


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b"nothing", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"record":{"topic":"t"}}', "not a record"),
        (b'{"record":{"topic":"t","partition":0,"offset":1,"timestamp":1},"value_base64":"%"}', "not a record"),
    ],
)
def test_a_broken_line_says_what_is_wrong(line: bytes, says: str) -> None:
    with pytest.raises(BrokenLine, match=says):
        record_of(line, 1)


# files


def written(tmp_path: Path, name: str, count: int) -> tuple[Path, list[Record]]:
    given = [Record("events", 0, number, AT + number, b"k", encode(event(at=AT / 1000))) for number in range(count)]
    with Export(tmp_path / name) as export:
        export.write(given)
    assert export.count == count
    return tmp_path / name, given


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
def test_what_is_exported_is_read_again(tmp_path: Path, name: str) -> None:
    path, given = written(tmp_path, name, 3_000)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") is name.endswith(".gz")
    positions: list[int] = []
    found = [record for records in records_in(path, positions.append) for record in records]
    assert found == given
    assert positions == sorted(positions)
    assert positions[-1] == path.stat().st_size


def test_the_same_events_are_the_same_bytes(tmp_path: Path) -> None:
    first, given = written(tmp_path, "a.jsonl.gz", 10)
    with Export(tmp_path / "b.jsonl.gz") as export:
        export.write(given)
    assert first.read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = written(tmp_path, "day.jsonl.gz", 5)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.FileIO(path))))
    assert [record for records in records_in(Path("-")) for record in records] == given


def test_empty_lines_and_the_last_line_end_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"\n" + encode(event()) + b"\r\n\n  \n" + encode(event()))
    assert [record.offset for records in records_in(path) for record in records] == [2, 5]


def trouble(path: Path) -> str:
    with pytest.raises(FileTrouble) as raised:
        list(records_in(path))
    return str(raised.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert trouble(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'}: No such file or directory"
    assert trouble(tmp_path) == f"{tmp_path}: Is a directory"
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(encode(event()) + b"\n" + encode(event())[:50] + b"\n" + encode(event()))
    assert trouble(broken).startswith(f"{broken}: line 2: not JSON: ")
    with pytest.raises(FileTrouble, match="No such file or directory"), Export(tmp_path / "no" / "such.jsonl"):
        pass


def test_a_compressed_file_that_is_cut_off_or_broken_says_so(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "day.jsonl.gz", 2_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "the gzip stream is broken or cut off" in trouble(path)
    path.write_bytes(whole[:200] + bytes(200) + whole[400:])
    assert str(path) in trouble(path)
    path.write_bytes(b"\x28\xb5\x2f\xfd and so on")
    assert "zstd -dc" in trouble(path)


def test_what_is_no_text_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 21)
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * (4 << 20))
    assert "line 1: longer than 2 MiB" in trouble(path)


# order


def record(partition: int, timestamp: int, offset: int = 0) -> Record:
    return Record("events", partition, offset, timestamp, None, b"{}")


def test_time_never_runs_back_in_a_partition_and_what_cannot_be_one_says_nothing() -> None:
    times = Times(LATEST)
    given = [AT, AT + 2000, AT + 1000, -1, 0, AT + 9_000_000_000, AT + 3000]
    assert [times.of(record(0, timestamp)) - AT / 1000 for timestamp in given] == [0, 2, 2, 2, 2, 2, 3]
    assert times.of(record(1, AT)) == AT / 1000


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), min_size=1, max_size=4), st.data())
def test_records_come_in_the_order_of_their_times_and_in_that_of_their_partition(
    stamps: list[list[int]], data: st.DataObject
) -> None:
    order = InOrder(range(len(stamps)), Times(LATEST))
    found: list[Timed] = []
    left = [[record(p, AT + 1000 * t, n) for n, t in enumerate(of)] for p, of in enumerate(stamps)]
    ended: set[int] = set()
    while len(ended) < len(left):
        partition = data.draw(st.sampled_from([p for p in range(len(left)) if p not in ended]))
        count = data.draw(st.integers(1, 4))
        order.take(left[partition][:count])
        del left[partition][:count]
        if not left[partition]:
            order.end(partition)
            ended.add(partition)
        found += order.ready()
    assert [at for at, _, _ in found] == sorted(at for at, _, _ in found)
    for partition, of in enumerate(stamps):
        assert [one.offset for _, p, one in found if p == partition] == list(range(len(of)))


def test_a_partition_that_is_ahead_waits_for_the_others() -> None:
    order = InOrder([0, 1], Times(LATEST))
    assert order.wants(0)
    order.take(record(0, AT + number) for number in range(ENOUGH))
    assert not order.wants(0)
    assert order.wants(1)
    assert not order.ready()
    order.end(1)
    assert len(order.ready()) == ENOUGH
    assert order.wants(0)


# bounds


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("pages>3", False),
        ("pages >= 3", True),
        (" pages==3 ", True),
        ("pages<4", True),
        ("pages!=3", False),
        ("pages<=2", False),
    ],
)
def test_a_bound_holds_or_not(text: str, fails: bool) -> None:
    assert Bound.parse(text).holds({"pages": 3}) is fails


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pages", "must be a name, one of"),
        ("pages>x", "must be a name, one of"),
        ("pages>1.5", "must be a name, one of"),
        ("pages>1 and updates>2", "must be a name, one of"),
        ("pagers>1", "there is no pagers, only pages, updates"),
        ("", "must be a name"),
    ],
)
def test_what_is_no_bound_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Bound.parse(text)
