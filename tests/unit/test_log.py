"""The log: one event per line, whatever stands in it, and never a secret."""

import io
import json
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
)
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from consumer.telemetry.log import ITEM_LIMIT, TRACEBACK_LIMIT, VALUE_LIMIT, configure_log, quiet
from providers.masking import REDACTED
from state.violation import Severity
from tests.support.log import StreamLines, log_as_before

SECRET = "R0utingKey/0123456789+abc\\def"
SECRETS = frozenset({SECRET})


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with log_as_before():
        yield


class Log:
    """A configured log and what it has written."""

    def __init__(
        self,
        level: Literal["debug", "info", "warning", "error"] = "info",
        format: Literal["json", "console"] = "json",
        secrets: frozenset[str] = SECRETS,
    ) -> None:
        self.stream = io.StringIO()
        self.log: FilteringBoundLogger = configure_log(level, format, secrets, StreamLines(self.stream))

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


# --- lines


def test_a_line_is_json_with_time_level_and_event_first() -> None:
    log = Log()
    log.log.bind(provider="pagerduty").info("alert_triggered", partition=3, seconds=0.25, ok=True, none=None)
    assert list(log.line) == ["timestamp", "level", "event", "provider", "partition", "seconds", "ok", "none"]
    assert log.line["level"] == "info"
    assert log.line["event"] == "alert_triggered"
    assert log.line["timestamp"].endswith("Z")
    assert log.line["partition"] == 3


def test_what_is_below_the_level_is_not_written() -> None:
    log = Log("warning")
    log.log.info("not_this")
    log.log.warning("this")
    assert log.line["event"] == "this"


def test_a_line_for_people() -> None:
    log = Log(format="console")
    log.log.warning("route_refused", route="default", error="no such key", labels={"a": 1})
    time, rest = log.text.split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'warning  route_refused route=default error="no such key" labels={"a":1}\n'


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_hostile_value_cannot_forge_a_line_or_move_the_cursor(format: Literal["json", "console"]) -> None:
    log = Log(format=format)
    hostile = 'x\n{"event":"all_is_well"}\r\x1b[2J\x00\x85\u2028\u202e\ud800'
    log.log.info("event_decided", reason=hostile, nested=[{hostile: (hostile,)}], raw=hostile.encode(errors="replace"))
    assert log.text.count("\n") == 1
    assert len(log.text.splitlines()) == 1
    assert log.text.rstrip("\n").isprintable()
    if format == "json":
        assert log.line["reason"] == ('x\\n{"event":"all_is_well"}\\r\\x1b[2J\\x00\\x85\\u2028\\u202e\\ud800')


@pytest.mark.parametrize("format", ["json", "console"])
@given(value=st.recursive(st.text() | st.binary() | st.integers() | st.floats(), lambda inner: st.lists(inner)))
def test_any_value_makes_one_line(format: Literal["json", "console"], value: Any) -> None:
    log = Log(format=format)
    log.log.info("event_decided", value=value)
    assert log.text.endswith("\n")
    assert log.text[:-1].isprintable()


def test_values_are_bounded() -> None:
    log = Log()
    log.log.info("event_decided", text="a" * 5000 + "z", many=list(range(1000)), deep=[[[[[[[[["x" * 9999]]]]]]]]])
    assert len(log.line["text"]) <= VALUE_LIMIT
    assert log.line["text"].startswith("aaa")
    assert log.line["text"].endswith("aaz")
    assert len(log.line["many"]) == ITEM_LIMIT
    assert len(log.text) < 10_000


def test_values_of_any_type_are_written() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    log = Log()
    log.log.info("event_decided", odd=Odd(), big=2**70, severity=Severity.HIGH, some={1}, number=float("nan"))
    assert log.line["odd"] == "<Odd without a repr>"
    assert log.line["big"] == hex(2**70)
    assert log.line["severity"] == 3
    assert log.line["some"] == [1]
    assert log.line["number"] is None


def test_numbers_of_classes_that_behave_as_they_like_are_written_as_they_are() -> None:
    class Whole(int):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        def __lt__(self, other: object) -> bool:
            return True

        __le__ = __gt__ = __ge__ = __lt__
        __hash__ = int.__hash__

    class Real(float):
        pass

    log = Log()
    log.log.info("numbers", whole=Whole(7), large=Whole(2**70), real=Real(0.5))
    line = log.line
    assert (line["whole"], line["large"], line["real"]) == (7, hex(2**70), 0.5)


def test_a_traceback_is_one_line_of_json_with_its_own_lines_inside() -> None:
    log = Log()
    try:
        raise ValueError(f"the key {SECRET} is wrong")
    except ValueError as error:
        log.log.error("task_trouble", exc_info=error)
        log.log.error("without", exc_info=None)
    first, second = log.lines
    assert first["exception"].startswith("Traceback (most recent call last):\n")
    assert first["exception"].endswith(f"ValueError: the key {REDACTED} is wrong")
    assert "exc_info" not in first
    assert "exception" not in second


def test_a_traceback_for_people_is_one_line_too() -> None:
    log = Log(format="console")
    log.log.error("task_trouble", exc_info=ValueError("broken"))
    assert log.text.count("\n") == 1
    assert "ValueError: broken" in log.text


def test_a_long_traceback_loses_its_middle() -> None:
    log = Log()
    log.log.error("task_trouble", exc_info=ValueError("x" * 100_000 + "end"))
    assert len(log.line["exception"]) <= TRACEBACK_LIMIT
    assert log.line["exception"].endswith("end")


# --- secrets


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"Authorization: GenieKey {SECRET}!",
        f"{'x' * (VALUE_LIMIT - 10)}{SECRET}{'y' * VALUE_LIMIT}",
        {"headers": [(SECRET, {SECRET: SECRET})]},
        SECRET.encode(),
        ValueError(SECRET),
        json.dumps({"key": SECRET}),
        "https://example.test/R0utingKey%2F0123456789%2Babc%5Cdef/x",
    ],
    ids=["alone", "inside", "where it is cut", "nested", "bytes", "exception", "in JSON", "in an address"],
)
def test_no_secret_is_written(format: Literal["json", "console"], value: Any) -> None:
    log = Log(format=format)
    log.log.info("event_decided", value=value)
    log.log.info(f"said {SECRET}")
    logging.getLogger("library").error("failed with %s", value)
    assert "0123456789" not in log.text
    assert log.text.count("\n") == 3


def test_a_password_that_is_a_short_word_hides_no_word() -> None:
    log = Log(secrets=frozenset({"b", "kafka", "unreachable"}))
    log.log.warning("kafka_unreachable", error="kafka is unreachable")
    assert log.line["event"] == "kafka_unreachable", "a name of ours"
    assert log.line["error"] == f"kafka is {REDACTED}", "what is shorter than 8 characters is in many words"
    logging.getLogger("aiokafka").error("unreachable")
    assert log.lines[-1]["event"] == REDACTED


def test_without_secrets_nothing_is_hidden() -> None:
    log = Log(secrets=frozenset({""}))
    log.log.info("event_decided", value="plain")
    assert log.line["value"] == "plain"


# --- libraries


def test_what_libraries_say_takes_the_same_way() -> None:
    log = Log()
    logging.getLogger("aiokafka.conn").info("noise")
    logging.getLogger("aiokafka.conn").warning("lost %s\n%s", "node 1", SECRET)
    assert log.line["level"] == "warning"
    assert log.line["logger"] == "aiokafka.conn"
    assert log.line["event"] == f"lost node 1\\n{REDACTED}"


def test_what_a_client_is_about_to_try_again_is_no_error() -> None:
    log = Log()
    client = logging.getLogger("aiokafka.consumer.group_coordinator")
    client.error("Group Coordinator Request failed: %s", GroupCoordinatorNotAvailableError())
    client.error("Attempt to join group failed due to fatal error: %s", GroupAuthorizationFailedError("g"))
    client.error("Unexpected error during InitProducerIdRequest: %s", NotCoordinatorForGroupError)
    client.error("something else")
    assert [line["level"] for line in log.lines] == ["warning", "error", "warning", "error"]


class _Clock:
    """The time that `logging` writes into its records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)  # of which `logging` has no copy


def test_what_a_library_says_over_and_over_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = _Clock(monkeypatch), Log()
    library = logging.getLogger("library")
    for number in range(301):
        clock.now = 1_000 + number / 10
        library.warning("no broker at %s", "127.0.0.1")
        if number == 50:
            library.warning("no broker at %s", "127.0.0.2")
            logging.getLogger("other").warning("no broker at %s", "127.0.0.1")
    told = [(line["event"], line["logger"], line.get("repeated")) for line in log.lines]
    assert told == [
        ("no broker at 127.0.0.1", "library", None),
        ("no broker at 127.0.0.2", "library", None),
        ("no broker at 127.0.0.1", "other", None),
        *[("no broker at 127.0.0.1", "library", 99)] * 3,
    ]


def test_the_same_text_of_another_level_or_exception_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = Log(), _Clock(monkeypatch)
    library = logging.getLogger("library")
    library.warning("it broke")
    for error in (KeyError("a"), KeyError("b"), TypeError("c")):
        library.error("it broke", exc_info=error)
    library.error("it broke")
    assert [line["level"] for line in log.lines] == ["warning", "error", "error", "error"]
    assert [line.get("exception", "-").splitlines()[-1] for line in log.lines] == [
        "-",
        "KeyError: 'a'",
        "TypeError: c",
        "-",
    ]


def test_a_clock_that_is_set_back_silences_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = _Clock(monkeypatch), Log()
    logging.getLogger("library").warning("no broker")
    clock.now -= 3600
    logging.getLogger("library").warning("no broker")
    assert len(log.lines) == 2


@pytest.mark.slow
def test_what_libraries_have_said_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = Log(), _Clock(monkeypatch)
    found: list[Any] = logging.getLogger().handlers
    (handler,) = [one for one in found if type(one).__module__ == "consumer.telemetry.log"]
    for number in range(10_000):
        logging.getLogger("library").warning("number %s", number)
        assert len(handler._said) <= 256
    assert len(log.lines) == 10_000


def test_a_library_that_misuses_logging_is_heard_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own handler would not take it
    log = Log()
    logging.getLogger("library").error("two %s %s", "values")
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("asyncio").exception("a task failed")
    first, second = log.lines
    assert first["event"] == "two %s %s"
    assert second["exception"].endswith(f"ValueError: {REDACTED}")


def test_warnings_are_lines_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log = Log()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "old" in log.line["event"]
    assert log.line["logger"] == "py.warnings"


def test_configured_again_lines_are_written_once() -> None:
    earlier, log = Log(), Log()
    logging.getLogger("library").error("broken")
    assert log.line["event"] == "broken"
    assert earlier.text == ""


def test_a_stream_that_fails_does_not_stop_the_service() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = configure_log("info", "json", SECRETS, StreamLines(Gone()))
    log.info("event_decided")
    closed = io.StringIO()
    log = configure_log("info", "json", SECRETS, StreamLines(closed))
    closed.close()
    log.info("event_decided")


def test_a_stream_without_unicode_is_written_to_in_ascii() -> None:
    raw = io.BytesIO()
    log = configure_log("info", "json", SECRETS, StreamLines(io.TextIOWrapper(raw, encoding="ascii", newline="\n")))
    log.info("event_decided", reason="pâte")
    assert b"p\\xe2te" in raw.getvalue()


def test_a_quiet_library_is_kept_and_then_heard_again() -> None:
    log = Log()
    with quiet("aiokafka") as told:
        logging.getLogger("aiokafka").error('Unable connect to "%s"', "localhost:9092")
    assert [record.getMessage() for record in told] == ['Unable connect to "localhost:9092"']
    assert log.text == ""
    logging.getLogger("aiokafka").error("heard")
    assert log.line["event"] == "heard"
