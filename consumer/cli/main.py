"""``clawdstrike-alerting``: the command line.

Only the module of the chosen command is imported, so that ``--help`` and mistakes are answered at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from consumer.cli.arguments import require_config
from consumer.cli.output import OutputFailed, output
from consumer.cli.terminal import complain
from providers.errors import UserError

PROGRAM = "clawdstrike-alerting"


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A command. Its module has ``add_parser(subparsers)``, with the same ``help``, and ``main(args) -> int``."""

    name: str
    module: str
    help: str


COMMANDS: Sequence[Subcommand] = (
    Subcommand("run", "consumer.cli.run", "run the service until SIGTERM or SIGINT"),
    Subcommand("ingest", "consumer.cli.ingest", "take events over HTTP and write them to Kafka"),
    Subcommand("demo", "consumer.cli.demo", "run everything on this machine, and check the result"),
    Subcommand("sandbox", "consumer.cli.sandbox", "imitate the providers, paging nobody, and show what they got"),
    Subcommand("check-config", "consumer.cli.check_config", "say what a configuration would run"),
    Subcommand("config", "consumer.cli.config", "print every setting as an example, or as a JSON Schema"),
    Subcommand("explain", "consumer.cli.explain", "say why an event pages somebody, or does not"),
    Subcommand("simulate", "consumer.cli.simulate", "say what a configuration would have told people of past events"),
    Subcommand("topics", "consumer.cli.topics", "create, check or grow the topics"),
    Subcommand("status", "consumer.cli.status", "show who runs, what waits, and what nobody was told"),
    Subcommand("alerts", "consumer.cli.alerts", "list, show, acknowledge and resolve alerts; figures of their history"),
    Subcommand("silences", "consumer.cli.silences", "page nobody about some events for a while"),
    Subcommand("offsets", "consumer.cli.offsets", "decide records again, or skip some"),
    Subcommand("dlq", "consumer.cli.dlq", "list, show and replay the dead letters"),
    Subcommand("send-test", "consumer.cli.send_test", "send one real test notification"),
)


def main(argv: Sequence[str] | None = None, *, loaded: Callable[[], object] = lambda: None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 usage or configuration.

    ``loaded`` is called when the command has been imported, before it does anything.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with output():
            return _run(arguments, loaded)
    except UserError as error:
        complain(str(error).splitlines())
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    except OutputFailed:
        pass  # the reader, such as `head`, has read enough, or sees that the output is not complete
    return 1


def _run(arguments: Sequence[str], loaded: Callable[[], object]) -> int:
    try:
        args = _parser(arguments).parse_args(arguments)
        require_config(args)
    except SystemExit as end:  # argparse has printed its message
        return end.code if isinstance(end.code, int) else 0
    loaded()
    code: int = args.func(args)
    return code


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Turns Clawdstrike's security events on Kafka into PagerDuty incidents and OpsGenie alerts.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for command in COMMANDS:
        if command.name == chosen:
            import_module(command.module).add_parser(subparsers)
        else:
            subparsers.add_parser(command.name, help=command.help)
    return parser


if __name__ == "__main__":
    sys.exit(main())
