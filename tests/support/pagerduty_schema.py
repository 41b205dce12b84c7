"""PagerDuty's own description of its Events API v2 (github.com/PagerDuty/api-schema, reference/events-v2)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson

from tests.support.tools import missing

FILE = Path(__file__).parents[3] / "shared" / "api" / "pagerduty-events-v2.openapi.json"
"""It is data to check against, and no part of this repository: it lies beside it."""


@cache
def _validator(path: str) -> jsonschema.Draft202012Validator:
    if not FILE.exists():
        missing("pagerduty-events-v2.openapi.json", f"it is expected as {FILE}")
    document = json.loads(FILE.read_text())
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({**body, "components": document["components"]})


def check_schema(path: str, body: Any) -> None:
    """Check a request to ``/enqueue`` or ``/change/enqueue``, as it travels.

    Raises:
        jsonschema.ValidationError: it is not as PagerDuty describes it.
    """
    _validator(path).validate(orjson.loads(orjson.dumps(body)))
