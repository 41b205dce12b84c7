"""The facts of an alertable event, in plain types.

The event is validated once, where it is decoded. From there on its facts are these values.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum

from msgspec import Struct, field


class Severity(IntEnum):
    """The engine's severities, ordered: a higher one is worse (design section 4)."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """The name as it stands in events and in the configuration, e.g. ``critical``."""
        return _LABELS[self]


_LABELS = tuple(severity.name.lower() for severity in Severity)  # an enum looks up its name three times as slowly

SEVERITY_BY_LABEL: Mapping[str, Severity] = {severity.label: severity for severity in Severity}

SEVERITY_BY_WORD: Mapping[str, Severity] = {
    **SEVERITY_BY_LABEL,
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
}
"""The severity by the word for it in an event: a label, or one of the engine's own words (design section 19)."""


HEADER_OVERHEAD = 24
"""How many bytes a header counts in addition to its name and value: many empty headers take space in a state record,
too."""


def size_of(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    """How many bytes key, value and headers have together, which ``delivery.max_event_bytes`` bounds.

    In a state record (base64) they take at most a third more.
    """
    size = (len(key) if key else 0) + (len(value) if value else 0)
    for name, header in headers:
        size += HEADER_OVERHEAD + len(name.encode()) + (len(header) if header else 0)
    return size


class Record(Struct, frozen=True, gc=False):
    """An input record, byte for byte. It is kept while its trigger is owed, and a dead letter repeats it.

    ``timestamp`` is Kafka's, in milliseconds since the epoch.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        """How many bytes key, value and headers have together, as `size_of` counts them."""
        return size_of(self.key, self.value, self.headers)


class Violation(Struct, frozen=True, gc=False):
    """The facts of one event that notifications are made of. A fact that the event lacks is None.

    ``timestamp`` is the event's own text (RFC 3339), as the engine wrote it. ``runtime_agent_id`` and
    ``runtime_agent_kind`` name the agent that really acted, where another one has let it.
    """

    event_id: str
    event_type: str
    timestamp: str
    guard: str
    severity: Severity
    reason: str
    allowed: bool
    agent_id: str
    session_id: str
    resource_type: str
    resource_name: str
    user_id: str | None = None
    tenant_id: str | None = None
    environment: str | None = None
    policy_hash: str | None = None
    ruleset: str | None = None
    action: str | None = None
    resource_path: str | None = None
    resource_host: str | None = None
    resource_port: int | None = None
    runtime_agent_id: str | None = None
    runtime_agent_kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
