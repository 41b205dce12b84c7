"""The console script: what Ctrl-C does while a command is still being imported, and behind its end."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("module", ["signal", "argparse", "rich.console", "consumer.demo.demo", "aiokafka.errors"])
def test_ctrl_c_during_imports_is_no_traceback(module: str) -> None:
    command = [sys.executable, "-c", _INTERRUPTED_IN.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, "")
