"""``clawdstrike-alerting sandbox``, and ``python -m providers.sandbox``, which is the same."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from consumer.cli.main import main
from providers.sandbox.serve import _ready

COMMANDS = [["consumer.cli.main", "sandbox"], ["providers.sandbox"]]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_it_says_where_it_is_and_ends_when_it_is_asked_to(command: list[str], how: signal.Signals) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with started:
        assert started.stdout is not None
        ready = json.loads(started.stdout.readline())
        assert ready["url"].endswith(f":{ready['port']}")
        with urllib.request.urlopen(f"{ready['url']}/", timeout=10) as page:
            assert b"<title>Provider sandbox</title>" in page.read()
        started.send_signal(how)
        _, said = started.communicate(timeout=20)
    assert (started.returncode, said) == (0, "")


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_where_it_cannot_listen_it_says_so_in_one_line(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1]) if port == "taken" else port
        assert main(["sandbox", "--port", number]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"cannot listen on 127.0.0.1:{number}: ")
    assert (said.err.count("\n"), said.out) == (1, "")


def test_people_are_told_of_the_page_first() -> None:
    lines = _ready("http://127.0.0.1:8089", for_people=True).splitlines()
    assert lines[0] == "page     http://127.0.0.1:8089/"
    assert lines[-1] == "Ctrl-C ends it."
