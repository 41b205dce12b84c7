"""What a configuration means for the open alerts: their numbers, by what has become of their keys and routes."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from consumer.cli.terminal import complain, show_json
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_alerts
from consumer.service.build import build_pipelines
from providers.belonging import CHANGED, Standing

_SAYS: Final[Mapping[Standing, str]] = {
    Standing.RENAMED: "whose route has another name now: found by their key",
    Standing.RETIRED: "by a retired key: still resolved by it; their next event is told through today's route",
    Standing.ORPHANED: "by a key that is not configured: out of reach (`alerts list --orphaned`)",
    Standing.OWED: "that owe a trigger by a key that is not configured: told at once through today's route",
}


def tell_standings(file: Path, *, as_json: bool) -> int:
    """Print, for each pipeline, how many open alerts the configuration in ``file`` concerns. Returns the exit code."""

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        found = {}
        for pipeline in build_pipelines(config):
            alerts, wrong = await read_alerts(clients, partitions[pipeline.state_topic])
            complain(wrong)
            found[pipeline.provider.name] = Counter(pipeline.integrations.standing(alert) for _, alert in alerts)
        if as_json:
            show_json({name: _facts(counts) for name, counts in found.items()})
        else:
            for name, counts in found.items():
                print(f"open alerts of {name}: {counts.total()}")
                for line in _lines(counts):
                    print(f"  {line}")
        return 0

    return run_with_kafka(argparse.Namespace(config=file), _state_topics, act)


def _state_topics(config: Config) -> Sequence[str]:
    return [config.kafka.state_topic(provider) for provider in config.pipelines]


def _facts(counts: Counter[Standing]) -> dict[str, int]:
    return {"open": counts.total(), **{standing.value: counts[standing] for standing in CHANGED}}


def _lines(counts: Counter[Standing]) -> Sequence[str]:
    return [f"{counts[standing]} {_SAYS[standing]}" for standing in CHANGED if counts[standing]] or [
        "none that this configuration concerns"
    ]
