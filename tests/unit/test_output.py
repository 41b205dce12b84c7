"""What a command does whose standard output is closed, or full: it ends quietly, and blames nobody else."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.cli.main import main
from consumer.cli.output import OutputFailed, output

CONFIG = Path(__file__).parents[2] / "deploy" / "examples" / "pagerduty-only.yaml"
ENVIRON = {**os.environ, "PAGERDUTY_ROUTING_KEY": "a" * 32}
COMMANDS = [["check-config", str(CONFIG)], ["--help"], ["alerts", "list", "--help"], ["--version"]]


def run(arguments: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    command = f'"$0" -m consumer.cli.main "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments], env=ENVIRON, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-"], ids=["full", "closed"])
def test_a_command_whose_output_goes_nowhere_fails_and_says_nothing(arguments: list[str], redirection: str) -> None:
    done = run(arguments, redirection)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_whose_reader_has_gone_fails_and_says_nothing(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "consumer.cli.main", *arguments]
    done = subprocess.run(command, env=ENVIRON, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
def test_what_is_wrong_is_said_although_nothing_can_be_shown() -> None:
    done = run(["check-config", "/nowhere.yaml"], "> /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("/nowhere.yaml: ")


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_only_the_output_fails_like_that(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OutputFailed, match=r"^No space left on device$"), output():
        print("x")
    assert sys.stdout is full
    with pytest.raises(OSError, match="of a file"), output():
        raise OSError("of a file")


def test_a_command_that_is_read_ends_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("clawdstrike-alerting ")
