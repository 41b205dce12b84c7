"""``simulate`` beside a loop that parses the same lines: what it costs to decide a recorded event again."""

import asyncio
import contextlib
import json
import tempfile
import time
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import yaml

import consumer.cli.simulate  # noqa: F401  # before anything is measured
from consumer.cli.main import main
from consumer.tuning.files import Export
from state.violation import Record
from tests.bench import load
from tests.bench.child import Meter, Result, Side, measure
from tests.bench.report import Row
from tests.bench.setting import Setting, document

SECONDS = 7 * 86_400
"""Over which the recorded events are spread."""


async def simulate(setting: Setting) -> list[Row]:
    """A week of everyday traffic in a file, one event in a hundred a denial; and the same as it stands in a topic."""
    count = 20_000 if setting.quick else 200_000
    topic = await load.filled_topic(setting.servers, load.mixed(count))
    configuration = await document(setting, topic)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "week.jsonl"
        _record(path, count)

        async def once(side: Side, source: str, *, profile: bool = False) -> Result:
            return await measure(
                side, profile=profile, document=configuration, folder=folder, source=source, count=count
            )

        references, ours, of_topic = [], [], []
        for _ in range(setting.rounds):
            references.append(await once(parse, str(path)))
            ours.append(await once(simulate_all, str(path), profile=setting.profile))
            of_topic.append(await once(simulate_all, "", profile=setting.profile))
    reference, measured, read = (median(one.cpu for one in results) for results in (references, ours, of_topic))
    return [
        Row("simulate: CPU an event", measured / count * 1e6, "µs", reference / count * 1e6),
        Row(
            "simulate: events of a file, by one core", count / measured, "/s", count / reference, at_least=100_000
        ),
        Row("simulate: events of a topic, by one core", count / read, "/s"),
    ]  # fmt: skip


def _record(path: Path, count: int) -> None:
    began = time.time() - SECONDS
    with Export(path) as export:
        export.write(
            Record("events", 0, number, int((began + number * SECONDS / count) * 1000), key, value)
            for number, (key, value) in enumerate(load.mixed(count))
        )


async def simulate_all(meter: Meter, *, document: dict[str, Any], folder: str, source: str, count: int) -> None:
    """The command itself, from its arguments to its report."""
    config = Path(folder) / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    given = ["--input", source] if source else ["--since", "30d"]
    said = StringIO()
    meter.start()
    with contextlib.redirect_stdout(said):
        code = await asyncio.to_thread(main, ["simulate", str(config), *given, "--json"])
    meter.stop()
    report = json.loads(said.getvalue())
    found = report["providers"]["pagerduty"]
    told = found["pages"] + found["updates"] + found["suppressed"]
    assert (code, report["events"], told) == (0, count, count // load.ALERTABLE), report


async def parse(meter: Meter, *, document: dict[str, Any], folder: str, source: str, count: int) -> None:
    """Parse every line, look whether it was allowed, count those that were not."""
    denied = seen = 0
    meter.start()
    with open(source, "rb") as file:  # noqa: ASYNC230  # nothing else is done meanwhile
        for line in file:
            seen += 1
            if not orjson.loads(line)["value"]["decision"]["allowed"]:
                denied += 1
    meter.stop()
    assert (seen, denied) == (count, count // load.ALERTABLE)
