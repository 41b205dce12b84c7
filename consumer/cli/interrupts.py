"""Ctrl-C and SIGTERM for a command that ends in its own time: the first asks for it, the second ends it at once."""

import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Holds the two signals from `catch` on, up to the end of the process: none of them raises anything any more.

    They are not left to the event loop, which gives Ctrl-C back to the interpreter when it is closed: one that comes
    then would end a finished command with a traceback.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], object] | None = None
        self._force: Callable[[], object] | None = None
        self._received = 0

    def catch(self) -> None:
        """From now on the signals come here; those that come before `tell` are not lost."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def tell(self, ask: Callable[[], object], force: Callable[[], object]) -> None:
        """Call ``ask`` at the first signal and ``force`` at the second, in the midst of whatever runs then."""
        self._ask, self._force = ask, force
        if self._received:
            ask()

    def ignore(self) -> None:
        """Nothing is left that could be interrupted."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if self._received == 1 and self._ask is not None:
            self._ask()
        elif self._received == 2:
            self.ignore()  # it ends now; a third one would only leave something behind
            if self._force is not None:
                self._force()
