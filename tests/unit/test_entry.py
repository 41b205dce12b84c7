"""The console script: what Ctrl-C does while a command is still being imported, and behind its end."""

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest


def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run it as from a terminal: in the background of a shell SIGINT is ignored, and that would be inherited."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


_INTERRUPTED_IN = """
import builtins, os, signal, sys
from consumer.cli import entry

real = builtins.__import__

def importing(name, *rest, **more):
    if name == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest, **more)

builtins.__import__ = importing
sys.argv = ["clawdstrike-alerting", "demo", "--seconds", "1"]
sys.exit(entry.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["signal", "argparse", "rich.console", "consumer.demo.demo", "aiokafka.errors"])
def test_ctrl_c_during_imports_is_no_traceback(module: str) -> None:
    command = [sys.executable, "-c", _INTERRUPTED_IN.format(module=module)]
    done = run(command)
    assert done.returncode == 1
    assert done.stderr in ("interrupted\n", "")
    assert done.stdout == ""


_INTERRUPTED_BEHIND = """
import os, signal, sys
from consumer.cli import entry, main

main.main = lambda *, loaded: 0
code = entry.main()
os.kill(os.getpid(), signal.SIGINT)
sys.exit(code)
"""


def test_ctrl_c_behind_the_end_leaves_the_exit_code_as_it_is() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_BEHIND]
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")


_IGNORED_FROM_THE_START = """
import os, signal, sys
from consumer.cli import entry, main

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
main.main = lambda *, loaded: os.kill(os.getpid(), signal.SIGINT) or loaded() or 3
code = entry.main()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
sys.exit(code)
"""


def test_a_ctrl_c_that_is_ignored_stays_ignored() -> None:
    command = [sys.executable, "-c", _IGNORED_FROM_THE_START]
    done = run(command)
    assert (done.returncode, done.stderr) == (3, "")
