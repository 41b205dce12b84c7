"""What ``/metrics`` has, for those who ask Prometheus: the rules, the dashboard, the scaler of the chart."""

import ast
import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from consumer.receivers.webhooks.metrics import WebhookMetrics
from consumer.telemetry.exposition import Exposition
from consumer.telemetry.families import PREFIX
from consumer.telemetry.log_metrics import LogCollector
from consumer.telemetry.metrics import STAGE_OUTCOMES, Metrics
from consumer.telemetry.state_metrics import PartitionState, PipelineState
from providers.delivery.outage import Condition, RouteTrouble

CONSUMER = Path(__file__).parents[2] / "consumer"
OF_PROCESS = (CONSUMER / "service" / "service.py", CONSUMER / "telemetry" / "process_metrics.py")
PARTITION = PartitionState(
    partition=0, lag=3, is_running=True, hidden=0.0, alerts={"open": 2}, owed=1, orphaned=0, oldest_owed_age=0.5
)
TROUBLE = RouteTrouble("default", Condition.REFUSED, 1.0, "Invalid routing key", 401)
STAGE_PARTITION = PartitionState(partition=0, lag=1, is_running=True)


def _always(state: PipelineState) -> Callable[[], PipelineState]:
    return lambda: state


def text(accept: str = "") -> str:
    """That of a member with two pipelines and a stage, after something of each kind has happened."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for name in ("pagerduty", "opsgenie"):
        state = PipelineState(
            (PARTITION,), ("default",), troubles=(TROUBLE,), queued={"default": 4}, in_flight=2, ignored={"allowed": 7}
        )
        pipeline = metrics.pipeline(name, ["default"], _always(state))
        pipeline.events("triggered", 3)
        pipeline.notification("default", "trigger", "accepted", 0.2)
        pipeline.change_event("accepted")
        pipeline.inspection("default", "paged")
        pipeline.accepted(0.3)
        pipeline.unverified("default")
        pipeline.dead_letter("decode", "bad_json")
        pipeline.checkpoint(0.01)
        pipeline.proof("accepted")
    metrics.heartbeat("opsgenie", "accepted")
    webhooks = WebhookMetrics(registry, ["pagerduty", "opsgenie"])
    webhooks.webhook("pagerduty", "written", 0.1)
    webhooks.watch(oldest=lambda: 0.0, open=lambda: 1.0)
    metrics.pipeline("pagerduty-repartition", (), lambda: PipelineState((STAGE_PARTITION,)), STAGE_OUTCOMES)
    return asyncio.run(Exposition(registry).text(accept))[0].decode()


def series() -> dict[str, set[str]]:
    """The name of each series, and the names of its labels."""
    found: dict[str, set[str]] = defaultdict(set, _of_service())
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    process.register(LogCollector(lambda: {"warning": 1}))
    families = [*text_string_to_metric_families(text()), *process.collect()]
    for sample in [sample for family in families for sample in family.samples]:
        found[sample.name] |= set(sample.labels)
    return dict(found)


def _of_service() -> dict[str, set[str]]:
    """Those of the process, which only a running service has: as the modules of the process declare them."""
    found: dict[str, set[str]] = {}
    nodes = [node for file in OF_PROCESS for node in ast.walk(ast.parse(file.read_text()))]
    for call in [node for node in nodes if isinstance(node, ast.Call)]:
        match call:
            case ast.Call(func=ast.Name("Gauge"), args=[ast.JoinedStr(values=[_, ast.Constant(str(name))]), _]):
                found[f"{PREFIX}{name}"] = set()
            case ast.Call(func=ast.Name("Counter"), args=[ast.JoinedStr(values=[_, ast.Constant(str(name))]), _]):
                found[f"{PREFIX}{name}_total"] = set()
            case ast.Call(func=ast.Attribute(ast.Name("build"), "info"), args=[ast.Dict(keys=keys)]):
                found[f"{PREFIX}_build_info"] = {str(ast.literal_eval(key)) for key in keys if key}
    return found
