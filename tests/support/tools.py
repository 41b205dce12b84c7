"""Tools that are not Python's. Where one is missing, the test that needs it is skipped, and fails in CI."""

import os
import shutil
import subprocess
from typing import Any, NoReturn

import pytest


def missing(tool: str, comes_by: str) -> NoReturn:
    """What the test needs is not here, and by which command it comes.

    ``CI_WITHOUT`` names the tools that `.ci/run` could not get, as it has said.
    """
    reason = f"no {tool}: {comes_by}"
    in_ci = os.environ.get("CI", "") not in ("", "0", "false")
    if in_ci and tool not in os.environ.get("CI_WITHOUT", "").split():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def promtool(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """What Prometheus' own tool (Debian: ``prometheus``) says. ``options`` are those of `subprocess.run`."""
    tool = shutil.which("promtool")
    if tool is None:
        missing("promtool", "apt-get install --no-install-recommends prometheus")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, **options)


def helm(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """What Helm says, of ``HELM`` or of the path. ``options`` are those of `subprocess.run`."""
    tool = os.environ.get("HELM") or shutil.which("helm")
    if tool is None:
        missing("helm", "`.ci/tool helm FOLDER` builds it; HELM=PATH says where it is")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, **options)
