"""A silence: which events page nobody, from when until when, by whom and why (design section 22).

The names of the fields are those that the engine has for its suppressions. Everything here is pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Protocol

from state.facts import is_label, text_of
from state.violation import Severity

LONGEST_SECONDS: Final = 7 * 86400.0
"""A silence lasts for seven days at most: who wants more sets the next one, or mends the policy."""

EVERY_PROVIDER: Final = "all"
"""The scope of a silence that holds at every provider."""

FIELDS: Final = ("guard", "tenant_id", "session_id", "agent_id", "resource", "event_type")
"""The fields of an event that a silence can name, besides the severity and labels."""

LONGEST_ID: Final = 128
LONGEST_TEXT: Final = 1024
MOST_TERMS: Final = 32
"""The most characters and terms that a record may hold."""

_WILDCARD = "*"


class SilencedEvent(Protocol):
    """What a silence looks at."""

    @property
    def guard(self) -> str: ...
    @property
    def tenant_id(self) -> str | None: ...
    @property
    def session_id(self) -> str: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def resource_name(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


def shown(name: str) -> str:
    """A name from outside as it stands in a message: short, and without what does not print."""
    return repr(name[:LONGEST_ID])[1:-1]


class SilenceStatus(Enum):
    """What became of a silence, as its record says."""

    ACTIVE = "active"
    """The silence holds from its start to its end."""
    EXPIRED = "expired"
    """The silence's end has passed, and somebody has tidied up."""
    REVOKED = "revoked"
    """Somebody has ended the silence before its time; its end is that moment."""


class InvalidSilence(ValueError):
    """A silence that is none: ``field`` names what is wrong, the text says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Match:
    """Which events are meant: all of ``terms`` must fit, and the severity must not be above ``severity``.

    A term has the name of a field (`FIELDS`, or ``label.NAME``) and a text, in which each ``*`` stands for any number
    of characters. An event that lacks the field does not fit.
    """

    terms: Mapping[str, str]
    severity: Severity | None = None
    _tests: tuple[tuple[Callable[[SilencedEvent], str | None], Callable[[str], bool]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Raises `InvalidSilence` if a term has no such name or no text, or if every event would fit."""
        if len(self.terms) > MOST_TERMS:
            raise InvalidSilence("match", f"has more than {MOST_TERMS} terms")
        for name, text in self.terms.items():
            if name not in FIELDS and not is_label(name):
                raise InvalidSilence(
                    f"match.{shown(name)}", f"no such field: choose from {', '.join(FIELDS)}, label.NAME"
                )
            if not text or len(text) > LONGEST_TEXT or len(name) > LONGEST_TEXT:
                raise InvalidSilence(f"match.{shown(name)}", f"must have 1 to {LONGEST_TEXT} characters")
        if all(not text.strip(_WILDCARD) for text in self.terms.values()):
            raise InvalidSilence("match", "matches everything: name a guard, a tenant, a session, an agent or a label")
        tests = tuple((text_of(name), _fits(text)) for name, text in self.terms.items())
        object.__setattr__(self, "_tests", tests)

    def fits(self, event: SilencedEvent) -> bool:
        """Whether the event is one of those that are meant."""
        if self.severity is not None and event.severity > self.severity:
            return False
        return all((value := read(event)) is not None and fits(value) for read, fits in self._tests)


@dataclass(frozen=True, slots=True)
class Silence:
    """Events that ``match`` page nobody at the provider ``scope`` from ``starts_at`` until before ``expires_at``.

    All times are in seconds since the epoch; an event's is that of its record. Critical events are only meant with
    ``include_critical``. ``created_by`` and ``reason`` are for people.
    """

    id: str
    scope: str
    match: Match
    reason: str
    created_by: str
    created_at: float
    starts_at: float
    expires_at: float
    status: SilenceStatus = SilenceStatus.ACTIVE
    include_critical: bool = False

    def __post_init__(self) -> None:
        """Raises `InvalidSilence` if something is missing, too long, or ends before it begins or too late."""
        texts = {"id": self.id, "scope": self.scope, "reason": self.reason, "created_by": self.created_by}
        for name, text in texts.items():
            most = LONGEST_ID if name in ("id", "scope") else LONGEST_TEXT
            if not text.strip() or len(text) > most:
                raise InvalidSilence(name, f"must have 1 to {most} characters")
        if not self.id.isprintable():
            raise InvalidSilence("id", "has a character that does not print")
        if self.expires_at < self.starts_at:
            raise InvalidSilence("expires_at", "lies before its start")
        if self.expires_at - self.starts_at > LONGEST_SECONDS:
            raise InvalidSilence("expires_at", f"must lie within {LONGEST_SECONDS / 86400:.0f} days of its start")

    def is_for(self, provider: str) -> bool:
        """Whether the silence holds at this provider."""
        return self.scope in (EVERY_PROVIDER, provider)

    def silences(self, event: SilencedEvent, at: float) -> bool:
        """Whether an event whose record was written then, in seconds since the epoch, pages nobody."""
        return (
            self.starts_at <= at < self.expires_at
            and (self.include_critical or event.severity < Severity.CRITICAL)
            and self.match.fits(event)
        )

    def ended(self, at: float) -> "Silence":
        """The silence as somebody ends it at this moment, which is its end from then on. One that is over stays."""
        if at >= self.expires_at:
            return self if self.status is not SilenceStatus.ACTIVE else replace(self, status=SilenceStatus.EXPIRED)
        # One that has not begun never holds.
        return replace(self, status=SilenceStatus.REVOKED, starts_at=min(self.starts_at, at), expires_at=at)

    def is_of_same_events(self, other: "Silence") -> bool:
        """Whether the two are about the same events, whenever and wherever these are silenced."""
        return (self.match, self.include_critical) == (other.match, other.include_critical)

    def goes_on_from(self, before: "Silence") -> bool:
        """Whether this silence is still the one that it was ``before`` under the same id, perhaps with another end. If
        it is not, the alerts that the earlier one kept silent are silent no longer."""
        return self.is_of_same_events(before) and self.scope == before.scope and self.starts_at <= before.expires_at

    def as_written(self, at: float) -> "Silence":
        """The silence as its record says that was written at this moment. Where that says that the silence is over, it
        has ended then at the latest, whatever its end says."""
        if self.status is SilenceStatus.ACTIVE or self.expires_at <= at:
            return self
        return replace(self, starts_at=min(self.starts_at, at), expires_at=at)


def _fits(pattern: str) -> Callable[[str], bool]:
    """Whether a text is the pattern, in which each ``*`` stands for any number of characters.

    The pieces between the wildcards are looked for from left to right, each as early as it can be: no pattern and no
    text from outside can make that slow, as a regular expression could.
    """
    if _WILDCARD not in pattern:
        return pattern.__eq__
    first, *middle, last = pattern.split(_WILDCARD)

    def fits(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return fits
