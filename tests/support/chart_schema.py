"""What the Helm chart takes as values: its own settings, and the service's configuration as the service describes it.

`python -m tests.support.chart_schema` writes the chart's ``values.schema.json`` anew, after a setting has changed.
"""

import json
from pathlib import Path
from typing import Any

from consumer.config.json_schema import json_schema

CHART = Path(__file__).parents[2] / "deploy" / "kubernetes" / "clawdstrike-alerting"
SCHEMA = CHART / "values.schema.json"

_REFERENCES = r"^(\$\{([A-Za-z_][A-Za-z0-9_]*|file:/[^}]+)\})+$"
"""What a secret has to be: values are kept by Helm and shown by it, and a ConfigMap is read by many."""

_LOOPBACK = ["localhost", "127.0.0.1", "::1"]

_BOOLEAN = {"type": "boolean"}
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_NATURAL = {"type": "integer", "minimum": 0}
_POSITIVE = {"type": "integer", "minimum": 1}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_MAP = {"type": "object"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _required(**properties: Any) -> dict[str, Any]:
    return {**_object(**properties), "required": list(properties)}


def _named(pattern: str, value: Any) -> dict[str, Any]:
    return {"type": "object", "propertyNames": {"pattern": pattern}, "additionalProperties": value}


def _list_of(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item}


def chart_schema() -> dict[str, Any]:
    """The schema of all values. What Kubernetes describes itself (an affinity, a toleration) is left to it."""
    service = _described(json_schema())
    config = {name: service[name] for name in ("type", "properties", "additionalProperties")}
    return {
        "$schema": service["$schema"],
        "title": "Values of the chart clawdstrike-alerting",
        **_object(
            config={"allOf": [{"$ref": "#/$defs/Configuration"}, _needed_of_config()]},
            secretEnv=_named("^[A-Za-z_][A-Za-z0-9_]*$", _required(secret=_NAME, key=_NAME)),
            secretFiles=_named("^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$", _required(secret=_NAME)),
            extraEnv=_list_of(_MAP),
            image=_object(
                repository=_NAME,
                tag=_TEXT,
                digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                pullPolicy={"enum": ["IfNotPresent", "Always", "Never"]},
            ),
            pullSecrets=_list_of(_NAME),
            fullnameOverride=_TEXT,
            replicas=_NATURAL,
            minReadySeconds=_NATURAL,
            resources=_object(requests=_MAP, limits=_MAP, claims={"type": "array"}),
            podLabels=_TEXTS,
            podAnnotations=_TEXTS,
            nodeSelector=_TEXTS,
            tolerations=_list_of(_MAP),
            affinity=_MAP,
            spreadOver=_list_of(_NAME),
            priorityClassName=_TEXT,
            serviceAccount=_object(create=_BOOLEAN, name=_TEXT, annotations=_TEXTS),
            podDisruptionBudget=_object(enabled=_BOOLEAN),
            networkPolicy=_object(
                enabled=_BOOLEAN,
                kafkaPorts={**_list_of(_PORT), "minItems": 1},
                kafkaTo=_list_of(_MAP),
                httpsTo=_list_of(_MAP),
                ingressFrom=_list_of(_MAP),
                webhooksFrom=_list_of(_MAP),
                extraEgress=_list_of(_MAP),
            ),
            serviceMonitor=_object(
                enabled=_BOOLEAN, interval={"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}, labels=_TEXTS
            ),
            prometheusRule=_object(enabled=_BOOLEAN, labels=_TEXTS),
            autoscaling=_object(
                enabled=_BOOLEAN,
                minReplicas=_POSITIVE,
                maxReplicas=_POSITIVE,
                undecidedPerMember=_POSITIVE,
                scaleDownAfterSeconds={**_NATURAL, "maximum": 3600},
                prometheusAddress={"type": "string", "pattern": "^(https?://.+)?$"},
                selector=_TEXT,
                authentication=_TEXT,
            ),
            **{"global": _MAP},  # which Helm adds where this chart is part of another
        ),
        "$defs": {**service["$defs"], "Configuration": config},
    }


def _needed_of_config() -> dict[str, Any]:
    """What the chart itself reads of the configuration, or needs it to be."""
    host = {"not": {"enum": _LOOPBACK}}
    return {
        "properties": {
            "kafka": {"required": ["bootstrap_servers"]},
            "server": {"properties": {"host": host, "port": _PORT}, "required": ["host", "port"]},
        },
        "required": ["kafka", "server"],
    }


def _described(schema: Any) -> Any:
    """The service's schema, with references where it has secrets, and without its descriptions."""
    if isinstance(schema, list):
        return [_described(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("writeOnly"):
        return {"type": "string", "pattern": _REFERENCES}
    return {
        name: {each: _described(one) for each, one in value.items()}
        if name in ("properties", "$defs")
        else _described(value)
        for name, value in schema.items()
        if name != "description"
    }


def text() -> str:
    """What stands in ``values.schema.json``."""
    return json.dumps(chart_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
