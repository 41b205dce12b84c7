"""Runs a command that lives no longer than the process that started it.

`python child_guard.py COMMAND ...` starts the command, and ends it when the guard's own standard input ends. However
the process that holds the other end of that pipe dies, the operating system closes the pipe: so this works also after
`kill -9`, and on every platform. The guard imports only the standard library, so it starts in some 20 ms.
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
        while os.read(0, 4096):  # not sys.stdin: the interpreter cannot exit while a thread waits in its read
            pass
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
