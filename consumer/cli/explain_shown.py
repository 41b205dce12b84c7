"""What ``explain`` says to people."""

import json
from collections.abc import Iterator

from consumer.cli.terminal import counted, plain, show_facts, show_table
from consumer.tuning.explain import Explanation
from consumer.tuning.life import KeyLife, place
from providers.timestamps import utc
from state.alert import Alert

SHOWN = 20
"""Moments of a life; the JSON has more."""


def show_explanation(explanation: Explanation, *, now: str | None = None) -> None:
    """The way of an event through one pipeline; ``now`` is what the state says of its alert today."""
    print()
    print(plain(f"{explanation.provider}: {explanation.verdict.says}"))
    show_facts(_lines(explanation, now))


def _lines(explanation: Explanation, now: str | None) -> Iterator[tuple[str, object]]:
    for step in explanation.steps:
        yield step.name, step.says
        for request in step.facts.get("requests", ()):
            yield "", json.dumps(request["body"], ensure_ascii=True)
    verdict = explanation.verdict
    yield "kept by", verdict.kept_by
    yield "otherwise", verdict.otherwise
    yield "today", now


def show_life(life: KeyLife, alert: Alert | None) -> None:
    """What became of a key, and the way of the event that somebody was told of last."""
    print(plain(f"{life.configured.pipeline.provider.name}: {life.dedup_key}"))
    if alert is None:
        print("today: no alert of this key is open")
    else:
        events = counted(alert.occurrences, "event")
        print(f"today: {alert.status.value}, with {events}, the last at {utc(alert.last_seen)}")
    happened = list(life.happened)[-SHOWN:]
    if happened:
        show_table(("AT", "WHAT", "WHY"), [[utc(one.at), one.what, one.why] for one in happened])
    for what, number in life.counts.items():
        print(f"{what.replace('_', ' ')}: {number:,}")
    if life.told is not None:
        record, explanation = life.told
        print()
        print(f"told last: {place(record)}")
        show_explanation(explanation)
    print()
