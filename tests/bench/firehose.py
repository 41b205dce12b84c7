"""Everyday traffic, and a storm of what is known already: what it costs to decide one event.

Both start with the alerts of all problems open and told, so nothing is sent: what is measured is the way from the
broker's bytes to the store, checkpoints and proofs included.
"""

from collections.abc import Iterable
from statistics import median

from tests.bench import bare, load, service
from tests.bench.child import Result, Side, measure
from tests.bench.report import Row
from tests.bench.setting import Setting, document
from tests.bench.state import write_open_alerts


async def firehose(setting: Setting) -> list[Row]:
    """One event in a hundred is a denial, of one of 1,000 problems."""
    count = 20_000 if setting.quick else 300_000
    return await _figure(setting, "firehose", load.mixed(count), count, count // load.ALERTABLE, ratio=0.65)


async def storm(setting: Setting) -> list[Row]:
    """Every event is a denial, of one of 1,000 problems."""
    count = 10_000 if setting.quick else 150_000
    return await _figure(setting, "storm", load.denials(count), count, count, per_second=80_000)


async def _figure(
    setting: Setting,
    name: str,
    events: Iterable[load.Keyed],
    count: int,
    suppressed: int,
    *,
    ratio: float | None = None,
    per_second: float | None = None,
) -> list[Row]:
    topic = await load.filled_topic(setting.servers, events)

    async def once(side: Side, *, profile: bool = False) -> Result:
        configuration = await document(setting, topic)
        await write_open_alerts(configuration, load.KEYS)
        return await measure(side, profile=profile, document=configuration, count=count, suppressed=suppressed)

    references, ours = [], []
    for _ in range(setting.rounds):
        references.append(await once(bare.consume))
        ours.append(await once(service.decide_all, profile=setting.profile))

    def middle(results: list[Result], wall: bool = False) -> float:
        return median(result.wall if wall else result.cpu for result in results)

    reference, measured = middle(references), middle(ours)
    return [
        Row(
            f"{name}: CPU an event", measured / count * 1e6, "µs", reference / count * 1e6, at_most=ratio, of_ratio=True
        ),
        Row(f"{name}: by one core, at that CPU", count / measured, "/s", count / reference, at_least=per_second),
        Row(f"{name}: as it ran here", count / middle(ours, True), "/s", count / middle(references, True)),
    ]
