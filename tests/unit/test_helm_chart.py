"""The Helm chart in ``deploy/kubernetes``: what Helm makes of it fits Kubernetes, the image and this code."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from consumer.config import parse_config
from consumer.config.durations import seconds
from consumer.telemetry.server import create_app
from tests.support.chart import (
    EVERYTHING,
    KUBERNETES,
    NAME,
    NAMESPACE,
    PAGERDUTY,
    Refused,
    Values,
    config,
    container,
    merged,
    pod,
    render,
    the,
)
from tests.support.chart_schema import CHART, SCHEMA, chart_schema, text
from tests.support.exposed import series
from tests.support.tools import helm, promtool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DEFAULTS: Values = yaml.safe_load((CHART / "values.yaml").read_text())
ABOUT: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
REFERENCE = (ROOT / "deploy" / "examples" / "reference.yaml").read_text()
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
ALL_SET = merged(
    EVERYTHING,
    extraEnv=[{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    image={"digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
    fullnameOverride="pages",
    podLabels={"team": "soc"},
    podAnnotations={"note": "1"},
    nodeSelector={"kubernetes.io/arch": "amd64"},
    tolerations=[{"key": "paging", "operator": "Exists"}],
    affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}},
    serviceAccount={"annotations": {"note": "1"}},
    networkPolicy={
        "httpsTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "extraEgress": [{"ports": [{"port": 3128, "protocol": "TCP"}]}],
    },
    serviceMonitor={"labels": {"release": "prometheus"}},
    prometheusRule={"labels": {"release": "prometheus"}},
    autoscaling={"selector": 'team="soc"', "authentication": "prometheus"},
)
ALL_OFF = merged(
    PAGERDUTY,
    spreadOver=[],
    serviceAccount={"create": False},
    podDisruptionBudget={"enabled": False},
    networkPolicy={"enabled": False},
)
SETS = {"pagerduty": PAGERDUTY, "everything": EVERYTHING, "all set": ALL_SET, "all off": ALL_OFF}
of_each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def with_config(**sections: Any) -> Values:
    return merged(PAGERDUTY, config=sections)


def kinds(values: Values) -> set[str]:
    return {document["kind"] for document in render(values)}


@pytest.mark.parametrize("values", [{}, *SETS.values()], ids=["none", *SETS])
def test_helm_finds_nothing_to_say(values: Values, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = helm("lint", "--strict", "--quiet", str(CHART), "--values", str(file), "--kube-version", KUBERNETES)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@of_each_set
def test_each_document_is_what_kubernetes_takes(values: Values) -> None:
    oldest = re.findall(r"\d+\.\d+", ABOUT["kubeVersion"])[0]
    checked = [document for document in render(values) if document["kind"] not in CUSTOM]
    assert {"StatefulSet", "Service", "ConfigMap"} <= {document["kind"] for document in checked}
    for version in (oldest, kubernetes_validate.latest_version()):
        for document in checked:
            kubernetes_validate.validate(document, version, strict=True)


def test_what_is_switched_off_is_not_there() -> None:
    assert kinds(ALL_OFF) == {"StatefulSet", "Service", "ConfigMap"}
    assert kinds(PAGERDUTY) == kinds(ALL_OFF) | {"ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
    assert kinds(ALL_SET) == kinds(PAGERDUTY) | CUSTOM


def test_the_chart_is_of_this_release() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ABOUT["appVersion"] == ABOUT["version"] == version
    assert container(PAGERDUTY)["image"] == f"registry.example/clawdstrike-alerting:{version}"
    assert container(ALL_SET)["image"] == f"registry.example/clawdstrike-alerting@sha256:{'0' * 64}"


# The configuration


@of_each_set
def test_the_service_reads_its_configuration_in_the_pod(values: Values) -> None:
    read = config(values)
    assert read.pipelines
    assert read.kafka.group_instance_id == f"{NAME}-0"
    assert read.server.host == "0.0.0.0"
    assert read.kafka.bootstrap_servers == values["config"]["kafka"]["bootstrap_servers"]


def test_every_setting_comes_through_as_it_was_written() -> None:
    environ = {"PAGERDUTY_ROUTING_KEY": "a" * 32, "OPSGENIE_API_KEY": "0f1e2d3c-key", "JSM_API_KEY": "0f1e2d3c-jsm"}
    written = yaml.safe_load(REFERENCE)
    written["server"]["host"] = "0.0.0.0"
    values: Values = {"config": written, "networkPolicy": {"enabled": False}}
    rendered = the("ConfigMap", values)["data"]["config.yaml"]
    expected = parse_config(yaml.safe_dump(written), environ, lambda path: path)
    # A setting of the chart's own that is null here is left out by Helm, and so as the service has it.
    assert parse_config(rendered, environ, lambda path: path) == expected


def test_a_change_of_the_configuration_restarts_the_members_and_nothing_else_does() -> None:
    assert pod(with_config(delivery={"max_in_flight": 64})) != pod(PAGERDUTY)
    assert pod(merged(PAGERDUTY, replicas=7)) == pod(PAGERDUTY)


def test_the_schema_is_that_of_the_service() -> None:
    assert SCHEMA.read_text() == text(), "python -m tests.support.chart_schema"


def test_the_schema_has_each_value_and_no_other() -> None:
    def names(of: Any, schema: Any) -> None:
        properties = schema["properties"]
        assert set(of) == set(properties) - {"global", "claims"}
        for name, value in of.items():
            if name not in ("config", "resources") and properties[name].get("properties"):
                names(value, properties[name])

    names(DEFAULTS, chart_schema())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replica": 3}, "'replica' not allowed"),
        ({"image": {"name": "x"}}, "'name' not allowed"),
        ({"networkPolicy": {"kafkaPort": [1]}}, "'kafkaPort' not allowed"),
        ({"networkPolicy": {"kafkaPorts": ["9092"]}}, "want integer"),
        ({"secretEnv": {"KEY": {"secret": "a"}}}, "missing property 'key'"),
        ({"secretEnv": {"KEY": {"secret": "a", "key": "b", "value": "c"}}}, "'value' not allowed"),
        ({"secretFiles": {"a/b": {"secret": "a"}}}, "does not match pattern"),
        ({"autoscaling": {"minReplicas": 0}}, "minimum"),
        ({"config": {"delivry": {}}}, "'delivry' not allowed"),
        ({"config": {"delivery": {"max_inflight": 1}}}, "'max_inflight' not allowed"),
        ({"config": {"delivery": {"max_in_flight": 0}}}, "max_in_flight"),
        ({"config": {"server": {"host": "127.0.0.1"}}}, "/config/server/host"),
        ({"config": {"server": {"port": 0}}}, "/config/server/port"),
        ({"config": {"kafka": {"bootstrap_servers": None}}}, "missing property 'bootstrap_servers'"),
    ],
    ids=str,
)
def test_a_mistake_is_refused(changes: Values, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        render(merged(PAGERDUTY, **changes))


@pytest.mark.parametrize(
    "alerting",
    [
        {"pagerduty": {"routing_key": "a" * 32}},
        {"pagerduty": {"routing_key": "${KEY:-" + "a" * 32 + "}"}},
        {"pagerduty": {"routing": {"by_guard": {"secret_leak": "a" * 32}}}},
        {"pagerduty": {"retired_routing_keys": ["a" * 32]}},
        {"opsgenie": {"api_key": "0f1e2d3c-key"}},
    ],
    ids=str,
)
def test_a_secret_in_clear_is_refused(alerting: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="does not match pattern"):
        render(with_config(exporters={"alerting": alerting}))


def test_a_password_in_clear_is_refused() -> None:
    with pytest.raises(Refused, match="does not match pattern"):
        render(merged(EVERYTHING, config={"kafka": {"security": {"password": "hunter2"}}}))


def test_no_secret_is_made() -> None:
    assert "Secret" not in kinds(ALL_SET)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "config.exporters.alerting: name a provider"),
        (with_config(kafka={"bootstrap_servers": "a:9092, b:9095"}), "networkPolicy.kafkaPorts: 9095 is missing"),
        (with_config(delivery={"shutdown_grace": "${GRACE}"}), "config.delivery.shutdown_grace: the chart has to know"),
        (merged(PAGERDUTY, autoscaling={"enabled": True}), "autoscaling.prometheusAddress: is required"),
        (merged(EVERYTHING, autoscaling={"maxReplicas": 1}), "autoscaling.maxReplicas: must not be less"),
    ],
    ids=["no provider", "a port", "grace", "no prometheus", "replicas"],
)
def test_values_that_do_not_fit_together_are_refused(values: Values, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        render(values)


def test_servers_of_the_environment_are_taken() -> None:
    values = merged(
        with_config(kafka={"bootstrap_servers": "${BROKERS}"}), extraEnv=[{"name": "BROKERS", "value": "a:1"}]
    )
    assert config(values).kafka.bootstrap_servers == "a:1"


# The pod


@pytest.mark.parametrize("grace", [None, "500ms", "90s", "1.5m", "2h", "0.01d", 40, 0.5, 7200])
def test_a_member_is_given_longer_to_stop_than_it_takes(grace: str | float | None) -> None:
    values = PAGERDUTY if grace is None else with_config(delivery={"shutdown_grace": grace})
    drain = config(values).delivery.shutdown_grace
    assert drain == (25 if grace is None else seconds(grace))
    assert drain + 20 <= pod(values)["spec"]["terminationGracePeriodSeconds"] < drain + 22


@pytest.mark.parametrize("timeouts", [{}, {"startup_timeout": "1h"}, {"rebalance_timeout": "10m"}], ids=str)
def test_a_member_that_waits_for_kafka_is_not_started_again(timeouts: dict[str, str]) -> None:
    values = with_config(kafka=timeouts)
    kafka, probe = config(values).kafka, container(values)["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] > kafka.startup_timeout + kafka.rebalance_timeout + 30


def test_the_probes_ask_what_there_is() -> None:
    values = with_config(server={"port": 9000})
    member = container(values)
    (port,) = member["ports"]
    paths = {
        route.resource.canonical for route in create_app(list, CollectorRegistry()).router.routes() if route.resource
    }
    asked = {name: member[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz/traffic",
    }
    assert {get["path"] for get in asked.values()} | {"/metrics"} <= paths
    assert {get["port"] for get in asked.values()} == {port["name"]}
    assert port["containerPort"] == config(values).server.port == 9000
    assert the("NetworkPolicy", values)["spec"]["ingress"][0]["ports"] == [{"port": 9000, "protocol": "TCP"}]


def test_members_start_at_the_same_time_each_with_its_own_name() -> None:
    members = the("StatefulSet", PAGERDUTY)["spec"]
    assert members["podManagementPolicy"] == "Parallel"
    assert members["serviceName"] == the("Service", PAGERDUTY)["metadata"]["name"] == NAME
    assert the("Service", PAGERDUTY)["spec"]["clusterIP"] == "None"
    named = [one for one in container(PAGERDUTY)["env"] if one["name"] == "POD_NAME"]
    assert named == [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]


def test_the_pod_has_no_rights() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    spec = pod(PAGERDUTY)["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user[0]),
        "runAsGroup": int(user[1]),
        "fsGroup": int(user[1]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(PAGERDUTY)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert the("ServiceAccount", PAGERDUTY)["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == the("ServiceAccount", PAGERDUTY)["metadata"]["name"]
    assert pod(ALL_OFF)["spec"]["serviceAccountName"] == "default"


def test_members_are_spread_where_the_nodes_allow_it() -> None:
    spread = [
        (one["topologyKey"], one["whenUnsatisfiable"]) for one in pod(PAGERDUTY)["spec"]["topologySpreadConstraints"]
    ]
    assert spread == [(key, "ScheduleAnyway") for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")]


def test_the_configuration_is_where_the_image_looks() -> None:
    (folder,) = re.findall(r'CMD \["run", "--config", "(.*)/config\.yaml"\]', DOCKERFILE)
    mounts = {mount["name"]: mount["mountPath"] for mount in container(EVERYTHING)["volumeMounts"]}
    assert mounts == {
        "config": folder,
        "secret-kafka": "/run/secrets/kafka",
        "secret-routes": "/run/secrets/routes",
    }
    volumes = {volume["name"]: volume for volume in pod(EVERYTHING)["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == the("ConfigMap", EVERYTHING)["metadata"]["name"]
    assert volumes["secret-kafka"]["secret"] == {"secretName": "clawdstrike-alerting-kafka", "defaultMode": 0o440}


def test_there_is_memory_for_what_a_long_outage_leaves() -> None:
    limit = container(PAGERDUTY)["resources"]["limits"]
    assert set(limit) == {"memory"}, "a limit of the processor makes pages late"
    assert int(limit["memory"].removesuffix("Mi")) << 20 > config(PAGERDUTY).delivery.max_owed_bytes + (128 << 20)


@of_each_set
def test_everything_is_about_these_pods(values: Values) -> None:
    labels = pod(values)["metadata"]["labels"].items()
    selectors = [
        the("StatefulSet", values)["spec"]["selector"]["matchLabels"],
        the("Service", values)["spec"]["selector"],
        *(one["labelSelector"]["matchLabels"] for one in pod(values)["spec"].get("topologySpreadConstraints", [])),
    ]
    for document in render(values):
        match document:
            case {"kind": "PodDisruptionBudget", "spec": {"selector": {"matchLabels": found}}}:
                selectors.append(found)
            case {"kind": "NetworkPolicy", "spec": {"podSelector": {"matchLabels": found}}}:
                selectors.append(found)
    for selector in selectors:
        assert len(selector) == 2
        assert selector.items() <= labels


def test_one_member_at_a_time_is_taken_away() -> None:
    budget = the("PodDisruptionBudget", PAGERDUTY)["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_traffic_is_for_names_kafka_and_the_providers() -> None:
    policy = the("NetworkPolicy", ALL_SET)["spec"]
    tcp = [{"port": port, "protocol": "TCP"} for port in (53, 9093, 443, 3128)]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"][0]["from"] == EVERYTHING["networkPolicy"]["ingressFrom"]
    assert policy["egress"] == [
        {"ports": [{"port": 53, "protocol": "UDP"}, tcp[0]]},
        {"ports": [tcp[1]], "to": EVERYTHING["networkPolicy"]["kafkaTo"]},
        {"ports": [tcp[2]], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
        {"ports": [tcp[3]]},
    ]


def test_the_commands_of_the_book_are_about_these_pods() -> None:
    book = (ROOT / "deploy" / "README.md").read_text()
    (folder,) = re.findall(r"helm install paging (\S+) ", book)
    assert ROOT / folder == CHART
    (secret, key) = re.findall(r"create secret generic (\S+) --from-file=(\S+)=", book)[0]
    assert {"secret": secret, "key": key} in PAGERDUTY["secretEnv"].values()
    assert re.findall(r"kubectl exec (\S+) ", book) == [f"{NAME}-0"]


# What Kubernetes has no schema of


def test_prometheus_scrapes_the_members() -> None:
    monitor, service = the("ServiceMonitor", EVERYTHING), the("Service", EVERYTHING)
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"selector", "endpoints"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]
    assert the("ServiceMonitor", ALL_SET)["metadata"]["labels"]["release"] == "prometheus"


def test_the_rules_are_those_of_the_folder_beside_also_in_a_package(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    for chart in (CHART, package):
        (rule,) = [one for one in render(EVERYTHING, chart=chart) if one["kind"] == "PrometheusRule"]
        assert rule["apiVersion"] == "monitoring.coreos.com/v1"
        assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_keda_scales_the_members() -> None:
    scaled = the("ScaledObject", EVERYTHING)
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
        "minReplicaCount": 2,
        "maxReplicaCount": 12,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}}},
        "triggers": [
            {
                "type": "prometheus",
                "metricType": "AverageValue",
                "metadata": {
                    "serverAddress": "http://prometheus-operated.monitoring:9090",
                    "query": query(EVERYTHING),
                    "threshold": "1000",
                    "ignoreNullValues": "false",
                },
            }
        ],
    }
    assert "replicas" not in the("StatefulSet", EVERYTHING)["spec"], "an upgrade would take away what KEDA has added"
    assert the("StatefulSet", PAGERDUTY)["spec"]["replicas"] == 2
    assert the("StatefulSet", merged(PAGERDUTY, replicas=0))["spec"]["replicas"] == 0
    assert the("ScaledObject", ALL_SET)["spec"]["triggers"][0]["authenticationRef"] == {"name": "prometheus"}


def query(values: Values) -> str:
    (trigger,) = the("ScaledObject", values)["spec"]["triggers"]
    asked: str = trigger["metadata"]["query"]
    return asked


def test_what_is_scaled_on_is_a_metric_and_of_this_release() -> None:
    (name, selector) = re.findall(r"(\w+)\{(.*?)\}", query(EVERYTHING))[0]
    assert series()[name] == {"pipeline", "partition"}
    assert selector == f'namespace="{NAMESPACE}",job="{NAME}"'
    assert 'clawdstrike_alerting_lag{team="soc"}' in query(ALL_SET)


def test_what_is_owed_and_what_another_release_has_does_not_scale_out(tmp_path: Path) -> None:
    def input_of(metric: str, value: int, namespace: str = NAMESPACE, **labels: str) -> dict[str, str]:
        labels = {"namespace": namespace, "job": NAME, **labels}
        written = ",".join(f'{name}="{label}"' for name, label in labels.items())
        return {"series": f"{metric}{{{written}}}", "values": f"{value}x10"}

    lag, owed = "clawdstrike_alerting_lag", "clawdstrike_alerting_owed"
    given: Sequence[dict[str, str]] = [
        input_of(lag, 10, pod="a", pipeline="pagerduty", partition="0"),
        input_of(lag, 12, pod="b", pipeline="pagerduty", partition="0"),  # it moves from a to b
        input_of(lag, 20, pod="b", pipeline="pagerduty", partition="1"),
        input_of(lag, 5, pod="a", pipeline="opsgenie", partition="0"),
        input_of(lag, 7000, namespace="other", pod="a", pipeline="pagerduty", partition="0"),
        input_of(owed, 9000, pod="a", pipeline="pagerduty", partition="0"),
    ]
    expected = [{"labels": "{}", "value": 32}]
    asked = {"expr": query(EVERYTHING), "eval_time": "5m", "exp_samples": expected}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [asked]}]}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_webhooks_have_a_port_a_service_and_a_way_in() -> None:
    webhooks = {"enabled": True, "port": 8181, "pagerduty": {"secrets": ["${WEBHOOK_SECRET}"]}}
    values = merged(with_config(webhooks=webhooks), networkPolicy={"webhooksFrom": [{"podSelector": {}}]})
    assert {"name": "webhooks", "containerPort": 8181} in container(values)["ports"]
    (service,) = [one for one in render(values) if one["metadata"]["name"].endswith("-webhooks")]
    assert service["spec"]["ports"] == [{"name": "webhooks", "port": 8181, "targetPort": "webhooks"}]
    ingress = the("NetworkPolicy", values)["spec"]["ingress"]
    assert ingress[1] == {"ports": [{"port": 8181, "protocol": "TCP"}], "from": [{"podSelector": {}}]}
    assert not [one for one in render(PAGERDUTY) if one["metadata"]["name"].endswith("-webhooks")]
