"""What silences hold back at this moment, by the state topics (design section 22)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from consumer.cli.terminal import complain
from consumer.cli.with_kafka import Partitions
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_alerts
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Silence
from state.alert import Alert
from state.held import ends_at, is_live, untold


@dataclass(frozen=True, slots=True)
class Holds:
    """How many alerts a silence keeps from being told, and how many events of them nobody was told of."""

    alerts: int
    occurrences: int


Silenced = Mapping[str, Collection[Alert]]
"""By provider, the alerts that have silenced occurrences of which nobody was told."""


async def read_silenced(config: Config, clients: KafkaClients, partitions: Partitions) -> Silenced:
    """The silenced alerts of the state topics that exist. Raises what the clients raise if Kafka does not answer as it
    should."""
    found: dict[str, Collection[Alert]] = {}
    for provider in config.pipelines:
        if there := partitions.get(config.kafka.state_topic(provider)):
            alerts, corrupt = await read_alerts(clients, there)
            complain(corrupt)
            found[provider] = [alert for _, alert in alerts if untold(alert) is not None]
    return found


def holds(silence: Silence, silenced: Silenced) -> Holds:
    """What this silence holds back. An event that several silences hold is counted for each."""
    held = [
        one
        for alerts in silenced.values()
        for one in map(untold, alerts)
        if one is not None and any(silence_id == silence.id for silence_id, _ in one.silences)
    ]
    return Holds(len(held), sum(one.occurrences for one in held))


def pages_at_end(silence: Silence, known: KnownSilences, silenced: Silenced, config: Config, now: float) -> int:
    """How many pages it brings to end this silence now: the alerts that no other silence holds, and that are live."""
    policies = {one.provider.name: one.policy for one in build_pipelines(config)}

    def end_of(silence_id: str, until: float, provider: str, decided: float) -> float:
        end = known.end_of(silence_id, until, provider, decided)
        return min(now, end) if silence_id == silence.id else end

    return sum(
        any(silence_id == silence.id for silence_id, _ in held.silences)
        and ends_at(held, partial(end_of, provider=provider, decided=held.decided)) <= now
        and is_live(held, now, policies[provider])
        for provider, alerts in silenced.items()
        for held in map(untold, alerts)
        if held is not None
    )
