"""What is known of replays: by the marks that they leave, and of an earlier release by the feedback topic."""

import argparse
import ast
import os
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec import structs

from consumer.cli.dlq_shown import Known, show_dead_letters
from consumer.dlq.dead_letter import CutOriginal, DeadLetter, decode
from consumer.feedback.records import REPLAY, replay_headers
from consumer.replay.replayed import REPLAYED_HEADER, ReplayEnding, Replays, SentReplay, decode_mark, encode_mark
from consumer.replay.stored_dead_letters import CLASSES, Selection, StoredDeadLetter, is_class
from state.violation import Record
from tests.support.dead_letters import letter

CONSUMER = Path(__file__).parents[2] / "consumer"
LETTER = replace(
    letter(),
    record=Record("events", 3, 40, 1000, b"k", b"{}"),
    error_class="rejected_400",
    error="the provider has said a lot of words about what it does not like",
    first_offset=40,
    last_offset=40,
)
TAKEN = {"pagerduty": {3: {0: 7}}}


def record(encoded: Any, offset: int, partition: int = 0, at: int = 5000) -> Any:
    key, value, headers = encoded
    return SimpleNamespace(
        topic="dlq", partition=partition, offset=offset, key=key, value=value, headers=headers, timestamp=at
    )


def history(letter: DeadLetter, *ids: str) -> DeadLetter:
    headers = tuple((REPLAY, replay_id.encode()) for replay_id in ids)
    return replace(letter, record=structs.replace(letter.record, headers=headers))


def replays(*records: Any, feedback: Any = ()) -> Replays:
    found = Replays()
    for one in feedback:
        found.take_feedback(one)
    for one in records:
        found.take(one)
    return found


def test_a_mark_says_which_letters_of_its_partition_were_replayed_and_where() -> None:
    _, value, headers = encode_mark({4: (0, 17), 9: (1, 3)})
    assert decode_mark(value, headers) == {4: (0, 17), 9: (1, 3)}
    found = replays(record(encode_mark({4: (0, 17), 9: (1, 3)}), 12, partition=2))
    assert found.sent == {"2/4": SentReplay(5.0, (0, 17), 12), "2/9": SentReplay(5.0, (1, 3), 12)}


def test_nothing_in_a_letter_can_pass_for_a_mark_and_an_earlier_release_takes_a_mark_for_no_letter() -> None:
    _, value, headers = encode_mark({4: (0, 17)})
    letter = replace(LETTER, record=structs.replace(LETTER.record, value=value, headers=tuple(headers)))
    assert decode_mark(*letter.encode()[1:]) is None
    with pytest.raises(ValueError, match="no dead letter: it has no header"):
        decode(None, value, headers)
    for other in (b"", b"[]", b'{"v":2}', b'{"replayed":{"x":1}}'):
        assert decode_mark(other, headers) == {}, "of a later release, and no letter either"
    assert decode_mark(value, [(REPLAYED_HEADER, b"1"), ("other", b"")]) is None


def test_how_a_replay_ends_is_seen_by_the_task_and_by_what_is_a_letter_again() -> None:
    found = replays(record(LETTER.encode(), 4), record(encode_mark({4: (0, 6)}), 5))
    assert found.ending("0/4", LETTER, TAKEN) == (ReplayEnding.DECIDED, None)
    assert found.ending("0/4", LETTER, {"pagerduty": {3: {0: 6}}}) == (ReplayEnding.WAITING, None)
    assert found.ending("0/4", LETTER, {"pagerduty": {}}) == (ReplayEnding.WAITING, None)
    assert found.ending("0/4", LETTER, {}) == (ReplayEnding.UNKNOWN, None)
    found.take(record(history(LETTER, "0/1", "0/4").encode(), 6))
    assert found.ending("0/4", LETTER, TAKEN) == (ReplayEnding.DEAD, "0/6")
    assert "0/1" not in found.again, "that one was a letter in between"
    found.take(record(encode_mark({4: (0, 9)}), 8))
    assert found.ending("0/4", LETTER, TAKEN) == (ReplayEnding.WAITING, None), "it was replayed once more since"


def test_a_release_without_marks_is_known_by_the_feedback_topic() -> None:
    key, value, headers = LETTER.encode()
    sent = record((key, value, replay_headers(headers, "0/4")), 3, at=9000)
    found = replays(feedback=[sent, record((b"k", b"{}", []), 4)])
    assert found.sent == {"0/4": SentReplay(9.0, (0, 3))}
    found.take(record(history(LETTER, "0/4").encode(), 6))
    assert found.ending("0/4", LETTER, TAKEN) == (ReplayEnding.DEAD, "0/6")
    assert replays(record(encode_mark({4: (0, 8)}), 5), feedback=[sent]).sent["0/4"].place == (0, 8)


# which are meant


def stored(letter: DeadLetter | None, offset: int = 4) -> StoredDeadLetter:
    found: Any = record(LETTER.encode(), offset)
    return StoredDeadLetter(found, letter)


def test_retryable_is_what_a_replay_can_help() -> None:
    selection = Selection(retryable=True, tasks={"pagerduty": [TopicPartition("events", 3)]})
    assert selection.has(stored(LETTER))
    assert not selection.has(stored(replace(LETTER, retryable=False)))
    assert not selection.has(stored(replace(LETTER, cut=CutOriginal(1, 2, 3, "4")))), (
        "of one that was cut only a part is there"
    )
    assert not selection.has(stored(replace(LETTER, provider="opsgenie"))), "nobody would decide it"
    assert not selection.has(stored(replace(LETTER, record=structs.replace(LETTER.record, topic="former"))))
    assert not selection.has(stored(replace(LETTER, record=structs.replace(LETTER.record, partition=4))))
    assert not selection.has(stored(None))


def test_the_error_classes_are_those_of_the_code() -> None:
    """Each literal that is given as an error class where a dead letter is made."""
    made = {"undelivered": 1, "_undecided": 2, "_bury": 3, "_dead_letter_owed": 2}
    found: set[str] = set()
    for file in (CONSUMER / "tasks" / "alerting" / "outbox.py", CONSUMER / "deciding" / "pipeline.py"):
        for call in [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]:
            if isinstance(call.func, ast.Attribute) and (place := made.get(call.func.attr)) is not None:
                given = call.args[place]
                found |= {given.value} if isinstance(given, ast.Constant) and isinstance(given.value, str) else set()
    assert {"given_up", "overflow", "stale", "internal_error"} <= found <= set(CLASSES)
    assert is_class("rejected_422")
    assert not is_class("rejected_")


# how it is shown


def test_a_list_of_replayed_letters_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 20)))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(time, "time", lambda: 605.0)
    letters = [stored(LETTER, 4), stored(LETTER, 5), stored(LETTER, 6)]
    found = replays(record(encode_mark({4: (0, 6), 5: (0, 7)}), 7), record(history(LETTER, "0/5").encode(), 8))
    show_dead_letters(argparse.Namespace(json=False), letters, Known(found, TAKEN))
    assert out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines() == [
        "ID   AGE  PROVIDER   CLASS         SEEN  REPLAYED        ERROR",
        "0/4  10m  pagerduty  rejected_400     1  10m, decided    the provider has said…",
        "0/5  10m  pagerduty  rejected_400     1  10m, again 0/8  the provider has said…",
        "0/6  10m  pagerduty  rejected_400     1                  the provider has said…",
    ]
