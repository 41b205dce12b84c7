"""Which statuses of HTTP mean what, as the configuration says it: ``202``, ``200-299``, ``5xx``."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

_FORM = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII | re.IGNORECASE)
_WRONG: Final = "must be statuses such as 202, 200-299 or 5xx"


def statuses(value: Any) -> frozenset[int]:
    """The statuses that are meant: one of them, a range or a class, or a list of such.

    Raises `ValueError` if the value means no status, or is a range that ends before it begins.
    """
    if isinstance(value, frozenset):
        return value
    if isinstance(value, list | tuple):
        return frozenset(status for item in value for status in _some(item))
    return frozenset(_some(value))


def _some(value: Any) -> range:
    found = _FORM.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        raise ValueError(_WRONG)
    if found[1] is not None:
        return range(int(found[1]) * 100, int(found[1]) * 100 + 100)
    first = int(found[2])
    last = int(found[3]) if found[3] is not None else first
    if last < first:
        raise ValueError(f"{_WRONG}: {value} ends before it begins")
    return range(first, last + 1)


_Written = int | Annotated[str, Field(pattern=rf"^(?:{_FORM.pattern})$|\$\{{")]

Statuses = Annotated[frozenset[int], BeforeValidator(statuses, json_schema_input_type=_Written | list[_Written])]
"""A set of statuses."""
