"""What a silence would have matched among the events of the last hour (design section 22)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition

from consumer.deciding.pipeline import Pipeline
from consumer.events.event import SecurityEvent
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import bounds, read
from consumer.silences.silence import Silence

LOOKS_BACK_SECONDS: Final = 3600.0

MOST_RECORDS: Final = 200_000
"""How many of the newest records are looked at, of all partitions together: a person waits for the answer."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What there was. ``problems`` are the dedup keys of matching events, by provider; ``since`` is when the oldest
    record was written that was looked at, in seconds since the epoch (None: there was none)."""

    alertable: int
    matched: int
    problems: Mapping[str, int]
    since: float | None
    is_whole: bool
    """Whether all records of the last hour were looked at."""


async def preview(
    clients: KafkaClients,
    partitions: Sequence[TopicPartition],
    pipelines: Sequence[Pipeline],
    silence: Silence,
    now: float,
) -> Preview:
    """Look at the events of the last hour as if the silence had held then. Raises what the clients raise if Kafka does
    not answer as it should."""
    alertable = matched = 0
    keys: dict[str, set[str]] = {one.provider.name: set() for one in pipelines if silence.is_for(one.provider.name)}
    asked = [one for one in pipelines if one.provider.name in keys]
    since: float | None = None
    async with started(clients.reader()) as reader:
        begins, ends = await bounds(reader, partitions)
        wanted = await reader.offsets_for_times(dict.fromkeys(partitions, int((now - LOOKS_BACK_SECONDS) * 1000)))
        at_most = max(1, MOST_RECORDS // len(partitions))
        hours = {one: ends[one] if (found := wanted[one]) is None else found.offset for one in partitions}
        nearer = {one: max(begins[one], hours[one], ends[one] - at_most) for one in partitions}
        async for records in read(reader, nearer, ends):
            for record in records:
                written = record.timestamp / 1000
                since = written if since is None else min(since, written)
                is_alertable = is_matched = False
                for pipeline in asked:
                    event = pipeline.decoder.decode(record)
                    if not isinstance(event, SecurityEvent) or not event.alertable:
                        continue
                    is_alertable = True
                    if silence.silences(event, silence.starts_at):
                        is_matched = True
                        keys[pipeline.provider.name].add(pipeline.template.render(event))
                alertable += is_alertable
                matched += is_matched
    problems = {name: len(found) for name, found in keys.items()}
    return Preview(
        alertable, matched, problems, since, all(nearer[one] == max(begins[one], hours[one]) for one in partitions)
    )
