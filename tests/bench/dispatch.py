"""Problems that nobody knows yet, all at once: how fast people are told, by a provider that takes 100 ms to answer."""

from statistics import median

from tests.bench import bare, load, service
from tests.bench.child import measure
from tests.bench.report import Row
from tests.bench.setting import Setting, document, sandbox

LATENCY_SECONDS = 0.1

CPU_AT_MOST = 1.35
"""The CPU of an alert, to that of a bare aiohttp loop that posts the same."""

AT_LEAST = {256: 0.9 * 256 / LATENCY_SECONDS, 512: 2500, 1024: 2500}
"""By requests on the wire, distinct alerts a second: 90 % of what so many can carry, up to what one core can do."""


async def dispatch(setting: Setting) -> list[Row]:
    """Distinct alerts through a route without a rate limit, at several sizes of ``max_in_flight``."""
    sizes = (256,) if setting.quick else tuple(AT_LEAST)
    rows = []
    for max_in_flight in sizes:
        rows += await _figure(setting, max_in_flight, 1_000 if setting.quick else 15_000)
    return rows


async def _figure(setting: Setting, max_in_flight: int, count: int) -> list[Row]:
    topic = await load.filled_topic(setting.servers, load.distinct(count))
    references, ours = [], []
    for _ in range(min(setting.rounds, 3)):
        # A sandbox for each side, as it slows down with what it remembers.
        async with sandbox(latency=LATENCY_SECONDS) as provider:
            references.append(await measure(bare.post, endpoint=provider.url, count=count, max_in_flight=max_in_flight))
            assert await provider.counts() == (count, count)
        async with sandbox(latency=LATENCY_SECONDS) as provider:
            configuration = await document(
                setting, topic, endpoint=provider.url, max_in_flight=max_in_flight, max_owed=count
            )
            ours.append(
                await measure(service.deliver_all, profile=setting.profile, document=configuration, count=count)
            )
            assert (await provider.counts())[1] == count
    wall, cpu = median(result.wall for result in ours), median(result.cpu for result in ours)
    bare_wall, bare_cpu = median(result.wall for result in references), median(result.cpu for result in references)
    failures = sum(result.values["unavailable"] for result in ours)
    failed = [Row(f"dispatch: had to be repeated, {max_in_flight} on the wire", failures, "alerts")] if failures else []
    return [
        Row(
            f"dispatch: distinct alerts, {max_in_flight} on the wire",
            count / wall,
            "/s",
            count / bare_wall,
            at_least=AT_LEAST[max_in_flight],
        ),
        Row(
            f"dispatch: CPU an alert, {max_in_flight} on the wire",
            cpu / count * 1e6,
            "µs",
            bare_cpu / count * 1e6,
            at_most=CPU_AT_MOST,
            of_ratio=True,
        ),
        *failed,
    ]
