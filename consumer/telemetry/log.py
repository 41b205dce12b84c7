"""The log: one event per line, as JSON or for people, and never a secret.

Our own lines and those of libraries (``logging``) take the same way: a level and a time are added, then every value is
made harmless (`_Tidy`), then one line is written. Values of security events are hostile: an attacker who provokes a
violation chooses parts of them.
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, cast

import orjson
import structlog
from aiokafka.errors import KafkaError
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from consumer.telemetry.log_lines import LEVELS, Level, Lines
from providers.masking import Mask

VALUE_LIMIT: Final = 2000
"""How many characters of one value are written."""

TRACEBACK_LIMIT: Final = 16_000
"""How many characters of a traceback are written; a longer one loses its middle."""

ITEM_LIMIT: Final = 100
"""How many items of one list or mapping are written."""

REPEAT_SECONDS: Final = 10.0
"""A line that a library repeats within this time is counted, not written: while a broker is away, Kafka's client logs
little else."""

_REMEMBERED = 256
"""How many different texts of libraries are remembered at a time."""

_DEPTH = 6
_LEVELS: Final[Mapping[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_OURS = ("timestamp", "level")
"""Fields that only this module writes."""
_OUR_NAMES = (*_OURS, "event")
_EVENT_NAME = re.compile("[a-z][a-z0-9_]*")
"""The form of ``event`` in our own lines; in a library's line it is free text."""


def configure_log(
    level: Level,
    format: Literal["json", "console"],
    secrets: frozenset[str],
    lines: Lines,
) -> FilteringBoundLogger:
    """Set up the log of this process, which ``lines`` writes; warnings and errors of libraries go there too.

    None of ``secrets`` is written, wherever it occurs. A second call replaces the earlier log.
    """
    tidy = _Tidy(secrets, multiline=format == "json")
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _Timestamp(),
        _add_traceback,
        tidy,
        _as_json if format == "json" else _as_text,
    ]
    _take_over_logging(_LibraryHandler(processors, lines), max(logging.WARNING, _LEVELS[level]))
    bound = structlog.make_filtering_bound_logger(_LEVELS[level])
    logger = structlog.wrap_logger(_Levels(lines), processors, bound, cache_logger_on_first_use=False)
    return cast(FilteringBoundLogger, logger.bind())


@contextmanager
def quiet(library: str) -> Iterator[list[logging.LogRecord]]:
    """Let a library log nothing within the block; the list gets the records that it would have logged."""
    logger = logging.getLogger(library)
    collecting = _CollectingHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collecting)
    try:
        yield collecting.records
    finally:
        logger.removeHandler(collecting)
        logger.propagate = propagate


# the steps of a line


class _Timestamp:
    """Adds the time of each line, in UTC to the millisecond. The text of the last second is kept for the next lines."""

    def __init__(self) -> None:
        self._last = (-1, "")  # a second and its text, replaced in one step since lines come from several threads

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        last, written = self._last
        if second != last:
            written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = (second, written)
        event["timestamp"] = f"{written}.{nanoseconds // 1_000_000:03d}Z"
        return event


def _add_traceback(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Turn ``exc_info``, in any of its forms, into the text ``exception``, without local variables."""
    try:
        return structlog.processors.format_exc_info(logger, name, event)
    except Exception as error:  # an exception whose own text cannot be made
        event["exception"] = f"a traceback that cannot be written: {type(error).__name__}"
        return event


class _Tidy:
    """Makes every value fit for a line: no secret, no control character, limited in size, and of a type that JSON has.

    Line breaks in tracebacks are kept if ``multiline`` (JSON escapes them anyway).
    """

    def __init__(self, secrets: Iterable[str], *, multiline: bool) -> None:
        self._mask = Mask(secrets)
        self._multiline = multiline

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return event if self._is_fit(event) else self._tidied(event)

    def _is_fit(self, event: EventDict) -> bool:
        """Whether no value has to be changed, as in most lines. All texts are checked together, which is faster."""
        texts = []
        for value in event.values():
            kind = type(value)
            if kind is str:
                texts.append(value)
            elif kind is int:
                if not _fits_json(value):
                    return False
            elif kind is not float and kind is not bool and value is not None:
                return False
        whole = " ".join(texts)
        return len(whole) <= VALUE_LIMIT and whole.isprintable() and self._mask(whole) == whole

    def _tidied(self, event: EventDict) -> EventDict:
        said = event.get("event")
        # The name of one of our events is never masked, even if somebody has chosen that word as a password.
        is_name = "logger" not in event and isinstance(said, str) and _EVENT_NAME.fullmatch(said) is not None
        ours = _OUR_NAMES if is_name else _OURS
        return {name: value if name in ours else self._field(name, value) for name, value in event.items()}

    def _field(self, name: str, value: Any) -> Any:
        if name == "exception" and isinstance(value, str):
            lines = self._text(value, TRACEBACK_LIMIT, keep="\n")
            return lines if self._multiline else lines.replace("\n", "\\n")
        return self._value(value, _DEPTH)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value, VALUE_LIMIT)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            return float.__float__(value)  # the JSON writer accepts no subclasses
        if isinstance(value, int):
            number = int.__index__(value)  # a subclass may redefine comparisons and its text
            return number if _fits_json(number) else self._text(hex(number), VALUE_LIMIT)
        if depth and isinstance(value, Mapping):
            return {
                self._text(_written(name), VALUE_LIMIT): self._value(item, depth - 1)
                for name, item in list(value.items())[:ITEM_LIMIT]
            }
        if depth and isinstance(value, list | tuple | Set):
            return [self._value(item, depth - 1) for item in list(value)[:ITEM_LIMIT]]
        return self._text(_written(value), VALUE_LIMIT)

    def _text(self, text: str, limit: int, *, keep: str = "") -> str:
        text = self._mask(text)
        if len(text) > limit:
            half = (limit - 1) // 2
            text = f"{text[:half]}…{text[-half:]}"
        if text.isprintable():
            return text
        return "".join(
            character if character.isprintable() or character in keep else _escape(character) for character in text
        )


def _fits_json(number: int) -> bool:
    """Whether the JSON writer accepts the number."""
    return -(2**63) <= number < 2**64


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
    except Exception:
        return f"<{type(value).__name__} without a repr>"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    first = {name: event[name] for name in ("timestamp", "level", "event") if name in event}
    return orjson.dumps({**first, **event}).decode()


def _as_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    fields = dict(event)
    head = f"{fields.pop('timestamp')} {fields.pop('level', ''):<8} {fields.pop('event', '')}"
    return " ".join([head, *(f"{name}={_readable(value)}" for name, value in fields.items())])


def _readable(value: Any) -> str:
    if isinstance(value, str) and value and not any(character in value for character in ' "='):
        return value
    return orjson.dumps(value).decode()


# where lines come from and go to


class _Levels:
    """structlog's innermost logger: a method for each level, which takes a finished line."""

    def __init__(self, lines: Lines) -> None:
        self.debug = partial(lines, "debug")
        self.info = self.msg = self.log = partial(lines, "info")
        self.warning = self.warn = partial(lines, "warning")
        self.error = self.critical = self.exception = partial(lines, "error")


def _level_of(record: logging.LogRecord) -> Level:
    """The highest of our levels that the record reaches; libraries may use levels in between.

    An error that Kafka's client will retry, such as a coordinator that is just being elected, counts as a warning.
    """
    if record.levelno >= logging.ERROR and _will_be_tried_again(record):
        return "warning"
    return next((level for level in reversed(LEVELS) if record.levelno >= _LEVELS[level]), "debug")


def _will_be_tried_again(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return any(
        getattr(argument, "retriable", False)
        for argument in arguments
        if isinstance(argument, KafkaError) or (isinstance(argument, type) and issubclass(argument, KafkaError))
    )


class _LibraryHandler(logging.Handler):
    """Writes what libraries log as our own lines are written, and a text that is repeated only now and then.

    The next line with that text has the field ``repeated``: how often the text was left out meanwhile.
    """

    def __init__(self, processors: Iterable[Processor], lines: Lines) -> None:
        super().__init__()
        self._processors = tuple(processors)
        self._lines = lines
        self._said: dict[tuple[object, ...], _Said] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, whatever the record is like, unless the same was written just before."""
        name, message = _level_of(record), _message(record)
        what = record.levelno, record.name, message, record.exc_info and record.exc_info[0]
        said = self._said.get(what)
        if said is not None and 0 <= record.created - said.at < REPEAT_SECONDS:
            said.again += 1
            return
        if said is None and len(self._said) == _REMEMBERED:
            self._said.clear()
        self._said[what] = _Said(record.created)
        line: Any = {"event": message, "logger": record.name}
        if said is not None and said.again:
            line["repeated"] = said.again
        if record.exc_info and isinstance(record.exc_info[1], KafkaError):
            line["error"] = repr(record.exc_info[1])  # Kafka's answer; a traceback through the client helps nobody
        elif record.exc_info:
            line["exc_info"] = record.exc_info
        for process in self._processors:
            line = process(None, name, line)
        self._lines(name, line)


@dataclass(slots=True)
class _Said:
    """When a text was last written, and how often it has been repeated since."""

    at: float
    again: int = 0


class _CollectingHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit the format
        return str(record.msg)


def _take_over_logging(handler: _LibraryHandler, level: int) -> None:
    root = logging.getLogger()
    for earlier in [earlier for earlier in root.handlers if isinstance(earlier, _LibraryHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
