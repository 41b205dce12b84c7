"""Ctrl-C and SIGTERM for a command that needs time to end: the first asks it to end, the second ends it at once."""

import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Handles the two signals from `catch` on until the process ends: neither raises an exception any more.

    The event loop does not handle them, since it gives Ctrl-C back to the interpreter when it is closed: a later Ctrl-C
    would end a finished command with a traceback.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], object] | None = None
        self._force: Callable[[], object] | None = None
        self._received = 0

    def catch(self) -> None:
        """Handle the signals from now on. Those that come before `tell` are not lost."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def tell(self, ask: Callable[[], object], force: Callable[[], object]) -> None:
        """Call ``ask`` at the first signal and ``force`` at the second. Both are called in the middle of running
        code."""
        self._ask, self._force = ask, force
        if self._received:
            ask()

    def ignore(self) -> None:
        """Ignore the signals from now on, since nothing is left to interrupt."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if self._received == 1 and self._ask is not None:
            self._ask()
        elif self._received == 2:
            self.ignore()  # the command ends now; a third signal would only keep it from cleaning up
            if self._force is not None:
                self._force()
