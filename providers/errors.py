"""Errors that the person who runs a command can mend, or has to know of."""

from typing import ClassVar


class UserError(Exception):
    """An error that ends a command. Its text is shown to the user, one line or more, without a traceback."""

    exit_code: ClassVar[int] = 1
    """The exit code of the process; 1 means that something has failed."""


class Mistake(UserError):
    """The arguments are wrong, or the configuration, or a file that the configuration names."""

    exit_code: ClassVar[int] = 2


def text_of(error: BaseException, otherwise: str | None = None) -> str:
    """The text of an exception, on one line. If it has no text: ``otherwise``, by default the name of its class."""
    return " ".join(str(error).split()) or (type(error).__name__ if otherwise is None else otherwise)
