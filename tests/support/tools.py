"""Tools that are not Python's. Where one is missing, the test that needs it is skipped, and fails in CI."""

import os
import shutil
import subprocess
from typing import Any, NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """What the test needs is not here, and by which command it comes."""
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def promtool(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """What Prometheus' own tool (Debian: ``prometheus``) says. ``options`` are those of `subprocess.run`."""
    tool = shutil.which("promtool")
    if tool is None:
        missing("no promtool: apt-get install --no-install-recommends prometheus")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, **options)
