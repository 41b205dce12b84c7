"""The arguments of ``alerts`` and ``dlq``, what is made of them without Kafka, and text that is only text."""

import os
import re
import time
from argparse import ArgumentTypeError
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from consumer.cli.dlq import keeping_of
from consumer.cli.main import _parser, main
from consumer.cli.terminal import age, plain, show_facts, show_json, show_table
from consumer.cli.times import moment_of
from consumer.replay.replay import Keeping
from consumer.replay.stored_dead_letters import replay_group

CONFIG = """
kafka: {bootstrap_servers: "127.0.0.1:1", startup_timeout: 1s}
exporters: {alerting: {pagerduty: {routing_key: 0123456789abcdef0123456789abcdef, api_endpoint: "http://127.0.0.1:1"}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dlq", "show", "12"], "must be partition/offset"),
        (["dlq", "show", "0/-1"], "must be partition/offset"),
        (["dlq", "list", "--since", "yesterday"], "must be RFC 3339, or how long ago"),
        (["dlq", "list", "--until", "2026-01-01T00:00:00"], "must be RFC 3339, or how long ago"),
        (["dlq", "list", "--limit", "0"], "must be a whole number of at least 1"),
        (
            ["dlq", "list", "--since", "1h", "--until", "2h"],
            "--since 1h: is not before --until 2h",
        ),
        (["dlq", "replay", "--since", "1h", "--until", "1h"], "--until 1h, so nothing is in between"),
        (
            ["dlq", "list", "--error-class", "gone_up"],
            "--error-class: there is no gone_up (meant: given_up?)",
        ),
        (["dlq", "replay", "--error-class", "rejected_4000"], "--error-class: there is no rejected_4000 (meant: rej"),
        (["dlq", "replay", "--provider", "opsgenie"], "exporters.alerting.opsgenie: is not configured"),
        (["dlq", "list", "--provider", "slack"], "exporters.alerting.http.slack: is not configured"),
        (["dlq", "list", "--provider", "no name"], "must be part of the names of topics"),
        (["dlq", "replay", "--rate", "0"], "must be a number per second"),
        (["dlq", "replay", "--rate", "nan"], "must be a number per second"),
        (["alerts", "list", "--status", "gone"], "invalid choice"),
        (["alerts", "ack"], "which alerts? Give their dedup keys, or one of --status"),
        (["alerts", "ack", "key", "--severity", "low"], "say which alerts by these or by dedup keys, not by both"),
        (["alerts", "resolve", "--status", "open"], "--yes: is needed where nobody can be asked"),
        (["alerts", "resolve", "--severity", "gone"], "invalid choice"),
        (["alerts", "resolve", "key", "--wait", "soon"], "must be a duration"),
        (["alerts", "ack", "\udcff", "--provider", "pagerduty"], "is not UTF-8"),
        (["alerts"], "ACTION"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments if len(arguments) == 1 else [*arguments[:2], "--config", config, *arguments[2:]]
    assert main(given) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["alerts", "list"], ["dlq", "list"], ["dlq", "replay"]])
def test_kafka_out_of_reach_is_one_line_and_1(
    arguments: list[str], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--config", config]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("kafka.bootstrap_servers: 127.0.0.1:1 did not answer within 1 s")


@pytest.mark.parametrize("arguments", [["alerts", "list"], ["dlq", "list"]])
def test_without_a_provider_there_is_nothing_to_look_at(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("kafka: {}")
    assert main([*arguments, "--config", str(path)]) == 2
    assert capsys.readouterr().err == "exporters.alerting: no provider is configured and enabled\n"


def test_a_time_is_a_moment_or_how_long_ago() -> None:
    now = time.time()
    assert moment_of("2h", now) == now - 7200
    assert moment_of("1970-01-02T00:00:00Z", now) == moment_of("1970-01-02T01:00:00+01:00", now) == 86400
    for text in ("", "soon", "1970-01-02"):
        with pytest.raises(ArgumentTypeError):
            moment_of(text, now)


@pytest.mark.parametrize(
    ("arguments", "group", "keeping"),
    [
        ([], r"g-dlq-replay", Keeping.NOTHING),
        (["--rate", "5", "--limit", "3"], r"g-dlq-replay", Keeping.NOTHING),
        (["--poison"], r"g-dlq-replay-\w{8}", Keeping.NOTHING),
        (["--error-class", "stale", "--group", "mine"], r"mine", Keeping.FOR_EVER),
        (["--again"], r"g-dlq-replay-\w{8}", Keeping.UNTIL_DONE),
        (["--again", "--provider", "pagerduty"], r"g-dlq-replay-\w{8}", Keeping.UNTIL_DONE),
    ],
)
def test_a_replay_keeps_how_far_it_has_come_only_where_the_marks_do_not_say_it(
    arguments: list[str], group: str, keeping: Keeping
) -> None:
    given = ["dlq", "replay", *arguments]
    name, kept = keeping_of(_parser(given).parse_args(given), "g")
    assert re.fullmatch(group, name)
    assert kept is keeping


def test_each_set_of_filters_has_a_group_of_its_own() -> None:
    none = replay_group("g", {"provider": None, "retryable": False})
    one = replay_group("g", {"provider": "pagerduty", "retryable": False})
    two = replay_group("g", {"provider": "pagerduty", "retryable": True})
    assert none == "g-dlq-replay"
    assert len({none, one, two}) == 3
    assert replay_group("g", {"retryable": False, "provider": "pagerduty"}) == one


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (0.4, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (86400 * 9, "9d")]
)
def test_a_span_of_time_is_short(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_table_has_no_empty_column_and_cuts_only_what_says_more_than_one_has_to_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 20)))
    rows: list[list[object]] = [
        ["0/1", None, 7, "the provider has said a lot of words about it"],
        ["0/2", None, None, "日本" * 20],
    ]
    out = Terminal()
    with redirect_stdout(out):
        show_table(["ID", "NOTHING", "SEEN", "ERROR"], rows, is_last_cut=True)
    head, *lines = out.getvalue().splitlines()
    assert head == "\x1b[1mID   SEEN  ERROR\x1b[0m"
    assert lines[0] == "0/1     7  the provider has said a lot…"
    assert all(cell_len(line) <= 40 for line in lines), "also where a character takes two columns"
    out = Terminal()
    with redirect_stdout(out):
        show_table(["ID", "KEY"], [["0/1", "k" * 100]])
    assert out.getvalue().splitlines()[1] == f"0/1  {'k' * 100}"


@given(st.text())
def test_plain_text_prints_on_one_line(text: str) -> None:
    assert plain(text).isprintable()


@given(st.text(max_size=30))
def test_whatever_is_shown_is_only_text(text: str) -> None:
    out = StringIO()
    with redirect_stdout(out):
        show_table(["A"], [[text]])
        show_facts([(text, text)])
        show_json({text: text})
    assert all(character.isprintable() or character == "\n" for character in out.getvalue().replace("\x7f", ""))
