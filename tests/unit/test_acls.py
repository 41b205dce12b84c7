"""`deploy/acls.sh`: the rights that it gives are those of the book's table, and those that the tests get by with."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from consumer.config import Config
from consumer.replay.stored_dead_letters import replay_groups

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "acls.sh"
BOOK = (ROOT / "deploy" / "README.md").read_text()

Rights = dict[tuple[str, str, str], set[str]]
"""Operations by resource, name and pattern."""

REPLAYS = ("group", replay_groups(Config().kafka.group_id), "prefixed")
"""The groups of replays."""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=20)


def printed(*arguments: str) -> list[list[str]]:
    """The commands that it prints, in words."""
    done = run("--principal", "User:alerting", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [shlex.split(line) for line in done.stdout.splitlines()]


def rights(*arguments: str) -> Rights:
    found: Rights = {}
    for words in printed(*arguments):
        assert words[:6] == [
            *("kafka-acls.sh", "--bootstrap-server", "localhost:9092"),
            *("--add", "--allow-principal", "User:alerting"),
        ]
        options = list(zip(words[6::2], words[7::2], strict=True))
        operations = {value for option, value in options if option == "--operation"}
        ((resource, name),) = [
            (option.removeprefix("--"), value)
            for option, value in options
            if option in ("--topic", "--group", "--transactional-id")
        ]
        (pattern,) = [value for option, value in options if option == "--resource-pattern-type"]
        found[resource, name, pattern] = operations
    return found


def documented() -> Rights:
    """The table of the book, with the names of the default configuration."""
    kafka = Config().kafka
    names = {
        f"<topics.{name}>": getattr(kafka.topics, name)
        for name in ("events", "state", "keyed", "dlq", "feedback", "history", "silences")
    }
    names["<group_id>"], names["<group_id>-dlq-replay"] = kafka.group_id, REPLAYS[1]
    found: Rights = {}
    table = BOOK[BOOK.index("| resource | name | operations |") :].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        resource, name, operations = (cell.strip() for cell in line.strip("|").split("|"))
        pattern = "prefixed" if "prefixed" in resource else "literal"
        kind = re.split("[,;]", resource)[0].replace(" ", "-")
        found[kind, names[name.strip("`")], pattern] = set(operations.split(";")[0].split(", "))
    return found


def needed() -> Rights:
    """Those of the table that the service itself needs."""
    return {key: operations for key, operations in documented().items() if key != REPLAYS}


def test_they_are_those_of_the_readme() -> None:
    assert len(documented()) == 10
    assert rights() == needed()


def test_each_command_asks_for_what_it_needs_besides() -> None:
    kafka = Config().kafka
    dead_letters = ("topic", kafka.topics.dlq, "literal")
    assert rights("--dlq-commands") == {**documented(), dead_letters: documented()[dead_letters] | {"Read"}}
    assert documented()[REPLAYS] == {"Delete"}, "of these groups only: the service's own stay"
    events = ("topic", kafka.topics.events, "literal")
    silences = ("topic", kafka.topics.silences, "literal")
    assert rights("--silences-commands") == {**needed(), silences: needed()[silences] | {"Write"}}
    assert rights("--ingest") == {**needed(), events: needed()[events] | {"Write"}}
    for option, operation in (("--create", "Create"), ("--grow", "Alter")):
        wanted = {key: has | {operation} if key[0] == "topic" else has for key, has in needed().items()}
        assert rights(option) == wanted


def test_names_are_as_they_are_given() -> None:
    found = rights("--prefix", "acme", "--group-id", "g", "--events", "e", "--dlq", "dead")
    assert [key[:2] for key in found] == [
        *(
            ("topic", name)
            for name in ("e", "acme.state", "acme.keyed", "acme.feedback", "acme.history", "acme.silences", "dead")
        ),
        *(("group", "g"), ("transactional-id", "g")),
    ]


def test_what_is_given_behind_goes_to_kafkas_own_tool(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\nfor word; do echo "$word"; done\necho .\n')
    tool.chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT), "--principal", "User:a b", "--remove", "--run", "--", "--command-config", "my file"],
        env={"KAFKA_ACLS": str(tool), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    commands = [command.splitlines() for command in done.stdout.split(".\n") if "--allow-principal" in command]
    assert len(commands) == 9
    for words in commands:
        assert words[2:6] == ["--remove", "--force", "--allow-principal", "User:a b"]
        assert words[words.index("--command-config") + 1] == "my file"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--principal: whose rights?"),
        (("--principal",), "--principal: which?"),
        (("--frobnicate",), "--frobnicate: no such option"),
        (("--principal", "User:O'Brien"), "a name with a quotation mark cannot be printed"),
    ],
)
def test_mistakes_are_one_line_and_2(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"acls.sh: {said}")
    assert done.stderr.count("\n") == 1
