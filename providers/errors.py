"""What whoever runs a program of this distribution can mend, or has to know."""

from typing import ClassVar


class UserError(Exception):
    """A command ends with it: its text is for the user, a line or more, and there is no traceback."""

    exit_code: ClassVar[int] = 1
    """Of the process: 1, something has failed."""


class Mistake(UserError):
    """The arguments do not fit, or the configuration, or a file that it names."""

    exit_code: ClassVar[int] = 2


def text_of(error: BaseException, otherwise: str | None = None) -> str:
    """What an exception says, on one line. Where it says nothing: ``otherwise``, or by default what it is called."""
    return " ".join(str(error).split()) or (type(error).__name__ if otherwise is None else otherwise)
