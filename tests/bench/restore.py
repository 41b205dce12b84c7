"""Taking over a partition: how long its alerts take to come back, and how much memory they keep."""

import gc
import sys
import time
import tracemalloc
from statistics import median
from typing import Any

from consumer.kafka.clients import KafkaClients
from consumer.tasks.partition.restore import restore as read_back
from consumer.telemetry.garbage import search_young_only
from consumer.telemetry.log import configure_log
from consumer.timing.turns import Turns
from state.alert import Alert
from state.store import Store
from tests.bench import bare
from tests.bench.child import Meter, measure, resident_bytes
from tests.bench.report import Row
from tests.bench.service import configuration
from tests.bench.setting import Setting, document
from tests.bench.state import write_open_alerts
from tests.support.kafka import create_topic
from tests.support.log import StreamLines

SECONDS_AT_MOST = 0.65
"""How long it takes, to how long a bare aiokafka loop takes that parses the same records."""

BYTES_AT_MOST = 500
"""What the process keeps of one alert."""


async def restore(setting: Setting) -> list[Row]:
    """100,000 open alerts of one partition, and a million."""
    if setting.quick:
        return await _restore(setting, 5_000, rounds=1)
    return [
        *await _restore(setting, 100_000, rounds=setting.rounds),
        *await _restore(setting, 1_000_000, rounds=1),
    ]


async def _restore(setting: Setting, count: int, *, rounds: int) -> list[Row]:
    state = await document(setting, await create_topic(setting.servers))
    await write_open_alerts(state, count)
    references, ours = [], []
    for _ in range(rounds):
        references.append(await measure(bare.read, document=state, count=count))
        ours.append(await measure(into_store, profile=setting.profile, document=state, count=count))
    traced = await measure(into_store, document=state, count=count, traced=True)
    resident = median(result.values["resident"] for result in ours)
    return [
        Row(
            f"restore: {count:,} alerts",
            median(result.wall for result in ours),
            "s",
            median(result.wall for result in references),
            at_most=SECONDS_AT_MOST,
            of_ratio=True,
        ),
        Row(f"restore: kept by one of {count:,} alerts", traced.values["kept"] / count, "bytes", at_most=BYTES_AT_MOST),
        Row(f"restore: resident, by one of {count:,} alerts", resident / count, "bytes"),
    ]


async def into_store(meter: Meter, *, document: dict[str, Any], count: int, traced: bool = False) -> None:
    """Read a state topic back into a store, as a task does."""
    search_young_only()
    config = configuration(document)
    log = configure_log("error", "json", frozenset(), StreamLines(sys.stderr))
    store = Store()
    gc.collect()
    before = resident_bytes()
    if traced:
        tracemalloc.start()
    meter.start()
    restored = await read_back(KafkaClients(config.kafka), config.kafka.state_topic("pagerduty"), 0, log)
    alerts = (found for found in restored.found if isinstance(found, Alert))
    await Turns().through(store.restore(alerts, time.monotonic(), restored.counts))
    meter.stop()
    del restored
    gc.collect()
    meter.result.values["resident"] = resident_bytes() - before
    if traced:
        meter.result.values["kept"] = tracemalloc.get_traced_memory()[0]
    assert len(store) == count, len(store)
