"""The Helm chart, rendered by Helm itself."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from consumer.config import Config, parse_config
from tests.support.chart_schema import CHART
from tests.support.tools import helm

Values = dict[str, Any]

EXAMPLES = CHART.parent / "examples"
PAGERDUTY: Values = yaml.safe_load((EXAMPLES / "pagerduty.yaml").read_text())
EVERYTHING: Values = yaml.safe_load((EXAMPLES / "everything.yaml").read_text())
NAME = "paging-clawdstrike-alerting"
NAMESPACE = "soc"
KUBERNETES = "1.34.0"
"""A Helm that Go has built takes itself to be for an old Kubernetes."""


def merged(values: Values, **changes: Any) -> Values:
    """The values with these changed, maps key by key, as Helm does it with several files."""
    both = dict(values)
    for name, value in changes.items():
        old = both.get(name)
        both[name] = merged(old, **value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


class Refused(Exception):
    """Helm does not take the values; its text says why."""


def render(values: Values, *, chart: Path = CHART) -> list[dict[str, Any]]:
    """The documents of a release with these values.

    Raises:
        Refused: they are not as they must be.
    """
    return _rendered(json.dumps(values), chart)


@cache
def _rendered(values: str, chart: Path) -> list[dict[str, Any]]:
    done = helm(
        *("template", "paging", str(chart), "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", "-"),
        input=values,
    )
    if done.returncode != 0:
        raise Refused(done.stderr)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def the(kind: str, values: Values) -> dict[str, Any]:
    """The only document of this kind."""
    (found,) = [document for document in render(values) if document["kind"] == kind]
    return found


def pod(values: Values) -> dict[str, Any]:
    """The template of the members' pods."""
    template: dict[str, Any] = the("StatefulSet", values)["spec"]["template"]
    return template


def container(values: Values) -> dict[str, Any]:
    """The only container of a pod."""
    (found,) = pod(values)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def config(values: Values) -> Config:
    """The configuration as the service reads it in such a pod: of its variables and its mounts, and of no others."""
    secret = "5ec2e7" * 5 + "00"
    environ = {one["name"]: one.get("value", secret) for one in container(values)["env"]}
    environ["POD_NAME"] = f"{NAME}-0"
    folders = [mount["mountPath"] for mount in container(values)["volumeMounts"]]

    def read_file(path: str) -> str:
        if not any(path.startswith(f"{folder}/") for folder in folders):
            raise FileNotFoundError(2, "No such file or directory", path)
        return f"{secret}\n"

    return parse_config(the("ConfigMap", values)["data"]["config.yaml"], environ, read_file)
