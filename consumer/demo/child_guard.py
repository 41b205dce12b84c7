"""Runs a command that lives no longer than the process that started it.

`python child_guard.py COMMAND ...` starts the command and ends it when its own standard input ends. The pipe to that
input is closed by the operating system however its owner dies, so this holds after `kill -9`, on every platform. Only
the standard library is imported: it starts in some 20 ms.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

GRACE_SECONDS = 3.0


def main(command: Sequence[str]) -> int:
    """Run the command until it ends by itself or standard input is closed; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_stdin, args=(child,), daemon=True).start()
    return child.wait()


def _end_with_stdin(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):  # not sys.stdin: the interpreter cannot end while a thread waits in there
            pass
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
