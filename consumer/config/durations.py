"""Durations as people write them: ``500ms``, ``90s``, ``15m``, ``1h``, ``7d``, or a plain number of seconds."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)", re.ASCII)
_LONGEST = 3650 * 86400.0
_INT32_MILLISECONDS = 2_147_483.0


def seconds(value: Any) -> float:
    """A duration in seconds.

    Raises `ValueError` if the value is no duration, is negative, or is longer than ten years (its unit must be a
    mistake).
    """
    number: float
    if isinstance(value, str) and (match := _PATTERN.fullmatch(value)):
        number = float(match[1]) * _SECONDS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        raise ValueError("must be a duration such as 500ms, 90s, 15m, 1h, 7d, or a number of seconds")
    if not 0 <= number <= _LONGEST:
        raise ValueError("must be between 0 and 3650d")
    return float(number)


Written = float | Annotated[str, Field(pattern=rf"^{_PATTERN.pattern}$|\$\{{")]
"""The forms in which a file may write a duration, for editors; also a text with a reference (``${``)."""

Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=Written)]
"""Seconds, 0 included."""

PositiveDuration = Annotated[Duration, Field(gt=0)]
"""Seconds, more than 0."""

ProtocolDuration = Annotated[Duration, Field(gt=0, le=_INT32_MILLISECONDS)]
"""Seconds, more than 0, that Kafka's protocol can carry: milliseconds in 32 bits."""
