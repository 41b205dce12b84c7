"""Keys in the order in which something was last heard of them."""

from collections import OrderedDict
from collections.abc import Iterator

from state.pieces import Pieces

SPAN_SECONDS = 1.0
"""The seconds of one span, in which moments are kept: a key that was heard of within a span counts as heard of at the
span's end."""

_SPAN_KEYS = 4096
"""How many keys one span takes. Then the next span begins, so that no span is slow to change."""


class _Span:
    """The keys of which something was last heard from ``began`` to ``heard``."""

    __slots__ = ("began", "heard", "keys")

    def __init__(self, began: float) -> None:
        self.began = self.heard = began
        self.keys: dict[str, None] = {}


class Quiet:
    """Keys in the order in which something was last heard of them, by a clock that never runs back.

    The moment of a key may be up to `SPAN_SECONDS` later than the true one, never earlier.
    """

    def __init__(self, now: float) -> None:
        self._last = _Span(now)
        self._spans: OrderedDict[_Span, None] = OrderedDict.fromkeys([self._last])
        self._span_of: Pieces[str, _Span] = Pieces()

    def hear(self, key: str, now: float) -> None:
        """Note that something was heard of the key ``now``."""
        last = self._last
        if now - last.began >= SPAN_SECONDS or len(last.keys) >= _SPAN_KEYS:
            last = self._begin(now)
        last.heard = now
        spans = self._span_of.of(key)
        span = spans.get(key)
        if span is not last:
            if span is not None:
                self._part(span, key)
            spans[key] = last
            last.keys[key] = None

    def join(self, key: str) -> None:
        """Add a key of which nothing was heard, at the latest place. A key that is there already keeps its place."""
        spans = self._span_of.of(key)
        if key not in spans:
            last = self._last
            if len(last.keys) >= _SPAN_KEYS:
                last = self._begin(last.heard)
            spans[key] = last
            last.keys[key] = None

    def end_span(self) -> None:
        """Begin a new span: keys that are heard of from now on do not share a moment with earlier ones."""
        self._begin(self._last.heard)

    def leave(self, key: str) -> None:
        """Remove the key, if it is there."""
        span = self._span_of.pop(key)
        if span is not None:
            self._part(span, key)

    def heard(self, key: str) -> float | None:
        """When something was last heard of the key; None if it is not there."""
        span = self._span_of.get(key)
        return None if span is None else span.heard

    def is_any_since(self, moment: float) -> bool:
        """Whether there is a key of which nothing has been heard after that moment."""
        longest = next(iter(self._spans))  # only the last span can be empty
        return longest.heard <= moment and bool(longest.keys)

    def since(self, moment: float) -> Iterator[str]:
        """The keys of which nothing has been heard after that moment, the longest quiet first."""
        for span in self._spans:
            if span.heard > moment:
                return
            yield from span.keys

    def emptied(self) -> Iterator[None]:
        """Free everything bit by bit, as a million keys freed at once would block; yields after each step."""
        for key, span in self._span_of.taken():
            self._part(span, key)
            yield

    def _begin(self, now: float) -> _Span:
        before, self._last = self._last, _Span(now)
        if not before.keys:
            del self._spans[before]
        self._spans[self._last] = None
        return self._last

    def _part(self, span: _Span, key: str) -> None:
        del span.keys[key]
        if not span.keys and span is not self._last:
            del self._spans[span]
