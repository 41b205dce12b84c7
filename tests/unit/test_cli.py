"""The command line: which commands there are, exit codes, and that mistakes of users are one line."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.cli import main as command_line
from consumer.cli.main import COMMANDS, main

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
CONFIG = f"""
kafka: {{bootstrap_servers: "127.0.0.1:1", startup_timeout: 1s}}
exporters: {{alerting: {{pagerduty: {{routing_key: {ROUTING_KEY}, api_endpoint: "http://127.0.0.1:1"}}}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def _config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    return str(path)


# --- the commands


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command.name}" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("clawdstrike-alerting 0.")


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["--frobnicate"], ["run"], ["topics"], ["check-config"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: clawdstrike-alerting" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_and_says_the_same_of_itself(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command.name, "--help"]) == 0
    assert f"usage: clawdstrike-alerting {command.name}" in capsys.readouterr().out
    added: dict[str, str] = {}

    class Subparsers:
        def add_parser(self, name: str, **options: Any) -> Any:
            added[name] = options["help"]
            return import_module("argparse").ArgumentParser()

    import_module(command.module).add_parser(Subparsers())
    assert added == {command.name: command.help}


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from consumer.cli.main import main; main(['--help']); "
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'aiokafka', 'aiohttp', 'structlog')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


# --- how they end


def _ending(monkeypatch: pytest.MonkeyPatch, ending: BaseException) -> None:
    def end(args: Any) -> int:
        raise ending

    module = SimpleNamespace(add_parser=lambda subparsers: subparsers.add_parser("run").set_defaults(func=end))
    monkeypatch.setattr(command_line, "import_module", lambda name: module)


def test_ctrl_c_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _ending(monkeypatch, KeyboardInterrupt())
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_traceback(config: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "consumer.cli.main", "check-config", config]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
def test_the_console_script_passes_the_exit_code() -> None:
    arguments = ["-m", "consumer.cli.main", "check-config", "/does/not/exist"]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "/does/not/exist: cannot be read: No such file or directory\n"


# --- mistakes of users


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "check", "--config"],
        ["topics", "create", "--config"],
        ["topics", "grow", "--partitions", "3", "--yes", "--config"],
        ["send-test", "--provider", "pagerduty", "--config"],
    ],
)
def test_a_configuration_that_is_not_there_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "/does/not/exist"]) == 2
    assert capsys.readouterr().err == "/does/not/exist: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("action", ["check", "create"])
def test_kafka_out_of_reach_is_one_line_and_1(
    action: str, config: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["topics", action, "--config", config]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("kafka.bootstrap_servers: 127.0.0.1:1 did not answer within 1 s (kafka.startup_timeout): ")
    assert "Connect call failed" in err
    assert not caplog.records


def test_topics_without_a_provider_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "check", "--config", _config(tmp_path, "kafka: {}")]) == 2
    assert "no provider" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5", "99999"])
def test_partitions_are_counted(number: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "create", "--config", config, f"--partitions={number}"]) == 2
    assert "--partitions: must be a whole number" in capsys.readouterr().err


def test_certificates_that_cannot_be_read_are_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace('"127.0.0.1:1",', '"127.0.0.1:1", security: {protocol: SSL, ca_file: /does/not/exist},')
    assert main(["topics", "check", "--config", _config(tmp_path, text)]) == 2
    assert capsys.readouterr().err == (
        "kafka.security: the certificate files cannot be used: No such file or directory\n"
    )


def test_a_provider_that_is_not_configured_cannot_be_tested(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send-test", "--config", config, "--provider", "opsgenie"]) == 2
    assert capsys.readouterr().err == "exporters.alerting.opsgenie: is not configured\n"


def test_a_route_that_is_not_configured_cannot_be_tested(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send-test", "--config", config, "--provider", "pagerduty", "--route", "by_guard:x"]) == 2
    assert capsys.readouterr().err == "--route: pagerduty has no route 'by_guard:x', only default\n"


def test_a_provider_that_does_not_answer_is_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send-test", "--config", config, "--provider", "pagerduty"]) == 1
    assert capsys.readouterr().err.startswith("pagerduty, route default: no answer: cannot connect to 127.0.0.1: ")
