"""Mistakes that a check of a whole model finds in one of its parts, told at their places."""

from collections.abc import Iterable

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Mistake = tuple[tuple[str | int, ...], str]
"""The place in the model where something is wrong, and a line that says what. The line leaves out the value, which may
be a secret."""


def located(model: type[BaseModel], mistakes: Iterable[Mistake]) -> ValidationError:
    """What a validator of ``model`` raises, of at least one mistake; pydantic puts the model's place before each."""
    details = [
        InitErrorDetails(type=PydanticCustomError("value_error", "{error}", {"error": what}), loc=where, input=None)
        for where, what in mistakes
    ]
    return ValidationError.from_exception_data(model.__name__, details, hide_input=True)
