"""Each command takes its configuration alike: as ``--config FILE``, or as a file alone."""

from pathlib import Path

import pytest

from consumer.cli.main import main

COMMANDS = [
    ["run"],
    ["check-config"],
    ["explain", "--event-id", "ID"],
    ["simulate", "--since", "1d"],
    ["topics", "create"],
    ["topics", "check"],
    ["topics", "grow", "--partitions", "2"],
    ["status"],
    ["alerts", "list"],
    ["alerts", "show", "KEY"],
    ["alerts", "ack", "KEY", "--provider", "pagerduty"],
    ["alerts", "resolve", "KEY", "OTHER", "--provider", "pagerduty"],
    ["alerts", "resolve", "--severity", "low", "--yes"],
    ["offsets", "rewind", "--to", "earliest"],
    ["offsets", "skip", "--to", "latest"],
    ["dlq", "list"],
    ["dlq", "show", "0/1"],
    ["dlq", "replay"],
    ["send-test", "--provider", "pagerduty"],
]


def with_file(command: list[str], *file: str) -> list[str]:
    """The file alone stands behind what has no name, and before the options."""
    options = next((at for at, word in enumerate(command) if word.startswith("--")), len(command))
    return [*command[:options], *file, *command[options:]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_configuration_is_given_either_way_and_once(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("kafka: 7")
    said = []
    for arguments in (with_file(command, str(wrong)), [*command, "--config", str(wrong)]):
        assert main(arguments) == 2
        said.append(capsys.readouterr().err)
        assert "kafka: " in said[-1], "it was read"
    assert said[0] == said[1]

    assert main(command) == 2
    assert capsys.readouterr().err.endswith(
        "error: --config: which configuration? Give its file: --config FILE, or FILE alone\n"
    )
    if command[:2] in (["alerts", "ack"], ["alerts", "resolve"], ["explain", "--event-id"]):
        return  # a file there is one more key, or an event, where there is a configuration already
    assert main([*with_file(command, str(wrong)), "--config", str(wrong)]) == 2
    assert capsys.readouterr().err.endswith("error: --config: two configurations are given, and one is taken\n")
