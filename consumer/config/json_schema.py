"""The configuration as a JSON Schema, with which editors complete and check a file while it is written.

The schema is made from the models. Added is what a file may write in another way: a value may come from the environment
or from a mounted secret (``${NAME}``), durations have units, and severities are words.
"""

from typing import Any, Final

from consumer.config.models import Config
from state.violation import SEVERITY_BY_LABEL

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INTERPOLATED: Final = {"type": "string", "pattern": r"\$\{"}
_SCHEMAS_BY_NAME: Final = frozenset({"properties", "$defs"})
_NOT_SHOWN: Final = frozenset({"title", "default"})
"""Pydantic's titles and defaults are left out: a title repeats the name, and a default is not as a file would write
it."""
_READ_AS_TYPES: Final = frozenset({"number", "integer", "boolean"})


def json_schema() -> dict[str, Any]:
    """The schema of a whole configuration file (JSON Schema 2020-12)."""
    schema = Config.model_json_schema()
    schema["$defs"]["Severity"] = {"enum": list(SEVERITY_BY_LABEL)}
    return {"$schema": _DIALECT, "title": "clawdstrike-alerting", **_with_interpolation(schema)}


def _with_interpolation(schema: Any) -> Any:
    """The schema; a text with a reference (``${``) is allowed wherever a number, a truth value or an enumeration is."""
    if isinstance(schema, list):
        return [_with_interpolation(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    within: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _SCHEMAS_BY_NAME:
            within[name] = {each: _with_interpolation(one) for each, one in value.items()}
        elif name not in _NOT_SHOWN:
            within[name] = value if name in ("enum", "const") else _with_interpolation(value)
    if schema.get("type") in _READ_AS_TYPES or "enum" in schema or "const" in schema:
        return {"anyOf": [within, _INTERPOLATED]}
    return within
