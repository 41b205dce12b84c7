"""The journal of all received requests, in order, and of their answers."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from providers.sandbox.call import Call, CallMoment
from providers.sandbox.keys import WINDOW


@dataclass(slots=True, kw_only=True)
class JournalEntry:
    """One request that was received.

    ``path`` is as sent, with the query. ``status`` is None while there is no answer, and for ever if none was sent.
    ``applied``: the request took effect, whatever was answered. ``fault`` is the kind of the fault that it met.
    """

    number: int
    at: float
    monotonic: float
    method: str
    path: str
    provider: str | None
    key: str | None
    dedup_key: str | None
    action: str
    event_id: str | None
    body: Any
    status: int | None = None
    applied: bool = False
    fault: str | None = None
    answered_monotonic: float | None = None


class Journal:
    """The requests in the order of their arrival. ``keep`` bounds how many are remembered; the counts are of all."""

    def __init__(self, keep: int | None = None) -> None:
        self._entries: deque[JournalEntry] = deque(maxlen=keep)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._received = 0
        self._faults = 0
        self._answered: Counter[tuple[str | None, str, int]] = Counter()

    @property
    def received(self) -> int:
        """How many requests have arrived."""
        return self._received

    def record(self, call: Call, now: CallMoment) -> JournalEntry:
        """Add a request that has arrived."""
        self._received += 1
        entry = JournalEntry(
            number=self._received,
            at=now.wall,
            monotonic=now.monotonic,
            method=call.method,
            path=call.path,
            provider=call.provider,
            key=call.key,
            dedup_key=call.dedup_key,
            action=call.action,
            event_id=call.event_id,
            body=call.body,
        )
        self._entries.append(entry)
        return entry

    def struck(self, entry: JournalEntry, fault: str) -> None:
        """Note that the request meets a fault of this kind."""
        entry.fault = fault
        self._faults += 1

    def answered(self, entry: JournalEntry, status: int, now: CallMoment) -> None:
        """Note the status with which the request is answered."""
        entry.status = status
        entry.answered_monotonic = now.monotonic
        self._answered[entry.provider, entry.action, status] += 1

    def entries(
        self,
        provider: str | None = None,
        *,
        key: str | None = None,
        dedup_key: str | None = None,
        action: str | None = None,
        status: int | None = None,
        after: int = 0,
    ) -> list[JournalEntry]:
        """The entries that fit all given criteria; ``after`` leaves out the entries up to that number."""
        return [
            entry
            for entry in self._entries
            if entry.number > after
            and provider in (None, entry.provider)
            and key in (None, entry.key)
            and dedup_key in (None, entry.dedup_key)
            and action in (None, entry.action)
            and status in (None, entry.status)
        ]

    def busiest_minute(self, provider: str, key: str) -> int:
        """The most requests with a key, of those that are remembered, in any rolling minute."""
        most = 0
        minute: deque[float] = deque()
        for entry in self.entries(provider, key=key):
            while minute and minute[0] <= entry.monotonic - WINDOW:
                minute.popleft()
            minute.append(entry.monotonic)
            most = max(most, len(minute))
        return most

    def outcomes(self, provider: str) -> tuple[int, int]:
        """How many requests of a provider were answered with a status below 300, and how many with another one."""
        accepted = refused = 0
        for (of_provider, _, status), count in self._answered.items():
            if of_provider == provider:
                accepted, refused = accepted + count * (status < 300), refused + count * (status >= 300)
        return accepted, refused

    def counts(self) -> dict[str, Any]:
        """How many requests were received, answered (by provider, action and status), not answered, and met a fault."""
        answered: dict[str, dict[str, dict[str, int]]] = {}
        for (provider, action, status), count in sorted(self._answered.items(), key=repr):
            by_action = answered.setdefault(provider or "unknown", {})
            by_action.setdefault(action, {})[str(status)] = count
        return {
            "received": self._received,
            "unanswered": self._received - self._answered.total(),
            "faults": self._faults,
            "answered": answered,
        }
