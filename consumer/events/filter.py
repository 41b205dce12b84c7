"""Which events concern a pipeline: those that may alert, and those that end an alert (design sections 2, 4 and 8).

Both questions are answered from the gate fields alone, before an event is validated. Both are on the hot path.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from state.violation import Severity

SESSION_END = "session_end"

IGNORED = ("allowed", "severity", "guard", "event_type")
"""Why an event concerns nobody: the action was allowed, or the filter excludes this field's value."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which denials are alertable: exclude beats include, and an empty include list means all."""

    min_severity: Severity = Severity.HIGH
    include_guards: Collection[str] = frozenset()
    exclude_guards: Collection[str] = frozenset()
    include_event_types: Collection[str] = frozenset()
    exclude_event_types: Collection[str] = frozenset()

    def __post_init__(self) -> None:
        # The configuration has lists; sets are faster, and each event is looked up in them.
        for name in ("include_guards", "exclude_guards", "include_event_types", "exclude_event_types"):
            object.__setattr__(self, name, frozenset(getattr(self, name)))

    def passes(self, allowed: bool, severity: Severity, guard: str, event_type: str) -> bool:
        """Whether an event with these gate fields is alertable. An allowed event never is."""
        return not allowed and self.reason(severity, guard, event_type) is None

    def reason(self, severity: Severity, guard: str, event_type: str) -> str | None:
        """Why a denial with these gate fields is not alertable, one of `IGNORED`; None if it is."""
        if severity < self.min_severity:
            return "severity"
        if guard in self.exclude_guards or (self.include_guards and guard not in self.include_guards):
            return "guard"
        included = self.include_event_types
        if event_type in self.exclude_event_types or (included and event_type not in included):
            return "event_type"
        return None


class End(Enum):
    """What ends with an event."""

    SESSION = "session"
    """The session: every alert with its session id."""

    KEY = "key"
    """The problem itself: the alert whose key the event renders."""


@dataclass(frozen=True, slots=True)
class EndRule:
    """One rule of ``auto_resolve.on_events``: the fields that are given must be equal; a field that is None is ignored.

    Raises `ValueError` if no field is given: with such a rule, any event would end its alert.
    """

    event_type: str | None = None
    guard: str | None = None
    allowed: bool | None = None

    def __post_init__(self) -> None:
        if self.event_type is None and self.guard is None and self.allowed is None:
            raise ValueError("a rule needs at least one of event_type, guard and allowed")

    def matches(self, event_type: str, guard: str, allowed: bool) -> bool:
        """Whether an event with these gate fields matches."""
        return (
            (self.event_type is None or self.event_type == event_type)
            and (self.guard is None or self.guard == guard)
            and (self.allowed is None or self.allowed is allowed)
        )


@dataclass(frozen=True, slots=True)
class EndRules:
    """Which events end alerts. ``on_session_end`` is true only where the key template has ``{session_id}``."""

    on_session_end: bool = False
    on_events: Sequence[EndRule] = ()

    def __bool__(self) -> bool:
        """Whether any event can end an alert."""
        return self.on_session_end or bool(self.on_events)

    @property
    def event_types(self) -> frozenset[str] | None:
        """The only event types with which an event can end something; None if one with any type can."""
        of_rules = [rule.event_type for rule in self.on_events]
        given = [event_type for event_type in of_rules if event_type is not None]
        if len(given) < len(of_rules):
            return None
        return frozenset([*given, SESSION_END] if self.on_session_end else given)

    def end_of(self, event_type: str, guard: str, allowed: bool) -> End | None:
        """What an event with these gate fields ends, whether the action was allowed or denied; None if nothing.

        The end of a session goes before a rule that matches the same event, since it ends all that the rule would end.
        """
        if self.on_session_end and event_type == SESSION_END:
            return End.SESSION
        for rule in self.on_events:
            if rule.matches(event_type, guard, allowed):
                return End.KEY
        return None
