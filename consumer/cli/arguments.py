"""Arguments that several commands have in common."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def add_config(
    parser: argparse.ArgumentParser, *, among: Callable[[argparse.Namespace], Path | None] | None = None
) -> None:
    """Let the configuration be given as ``--config FILE``, or as ``FILE`` alone; the result is ``config``.

    ``FILE`` alone follows the other positional arguments, and precedes the options. `require_config` ends the command
    if there is none. If the command takes any number of other positional arguments, ``among`` takes the file out of
    these.
    """
    parser.set_defaults(config=None, lacks=parser.error, among=among)
    for name, nargs in (("config", "?"), ("--config", None)):
        if among is None or nargs is None:
            parser.add_argument(
                name, metavar="FILE", nargs=nargs, action=_Once, default=argparse.SUPPRESS, help="the configuration"
            )


def require_config(args: argparse.Namespace) -> None:
    """Check that there is a configuration if the command needs one. Raises `SystemExit`, as argparse does, if not."""
    if "config" in args and args.config is None and args.among is not None:
        args.config = args.among(args)
    if "config" in args and args.config is None:
        args.lacks("--config: which configuration? Give its file: --config FILE, or FILE alone")


class _Once(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            parser.error("--config: two configurations are given, and one is taken")
        setattr(namespace, self.dest, Path(str(values)))


def count(text: str) -> int:
    """A whole number of at least 1. Raises `argparse.ArgumentTypeError` for any other text."""
    if not text.isdecimal() or int(text[:18]) == 0:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text[:18])


def text(argument: str) -> str:
    """The argument, which Kafka can hold if it is UTF-8. Raises `argparse.ArgumentTypeError` if it is not."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("is not UTF-8") from None
    return argument
