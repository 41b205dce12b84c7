"""The steps of a task in tests: none, or those that were kept; and what the schema of a step has to be."""

from collections.abc import Mapping, Sized
from typing import Any

import msgspec

from consumer.history.step import Step, StepKind
from consumer.history.steps import TaskSteps
from consumer.history.topic import HistoryTopic
from state.policy import Policy
from state.violation import Severity
from tests.support.unheard import Unheard

POLICY = Policy(window_seconds=60.0, renotify_seconds=3600.0, quiet_seconds=300.0, forget_seconds=86400.0)


def no_steps() -> TaskSteps:
    """A task whose history nobody wants."""
    return task_steps(None)


def task_steps(topic: HistoryTopic | None, now: float = 100.0, policy: Policy = POLICY) -> TaskSteps:
    """The steps of the task of partition 2, at one moment."""
    metrics: Any = Unheard()
    return TaskSteps(
        topic,
        provider="pagerduty",
        partition=2,
        source="urn:test",
        unique="u",
        policy=policy,
        wall=lambda: now,
        metrics=metrics,
    )


def topic_there(partitions: int = 1, name: str = "history", log: Any = None) -> HistoryTopic:
    """A history topic that exists once somebody has looked, if it has partitions."""

    async def look() -> Mapping[str, Sized]:
        return {name: range(partitions)} if partitions else {}

    heard: Any = Unheard() if log is None else log
    return HistoryTopic(name, look, heard)


def schema_of_step() -> dict[str, Any]:
    """The JSON Schema as it follows from `Step`: ``schema.json`` is this, written down."""
    described = dict(msgspec.json.schema(Step)["$defs"]["Step"])
    properties = {name: {**prop} for name, prop in described["properties"].items()}
    properties["kind"] = {"enum": [str(kind) for kind in StepKind]}
    properties["severity"] = {"enum": [severity.label for severity in Severity]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A step in the life of an alert",
        "description": "The value of a record of the history topic. Later releases may add properties.",
        "type": "object",
        "properties": properties,
        "required": described["required"],
    }
