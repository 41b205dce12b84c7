"""Writes the text of ``/metrics``, most of which is the same at each scrape.

With five hundred routes there are ten thousand series. Prometheus' library encodes the name and the labels of each
series again at every scrape, which takes a second. This module encodes them once and keeps the text; later it encodes
only values.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

_Encode = Callable[[Any], bytes]
_END = "# EOF\n"
_LINES = 250
_SLICE_SECONDS = 0.02
"""How long the text is written before other tasks of the event loop get a turn. Each turn can delay the answer."""

_PLAIN = 1e6
"""From this number on, the format writes numbers with an exponent."""


class Exposition:
    """The text of a registry, in the format that the client accepts. The creation times of series are left out."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._formats: dict[str, _Format] = {}

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The series as they are now, and the content type. ``accept`` is the request's ``Accept`` header."""
        encode, content_type = choose_encoder(accept)
        known = self._formats.get(content_type)
        if known is None:
            known = self._formats[content_type] = _Format(encode)
        return await known.text(self._registry), content_type


class _Format:
    """One of the formats, with the texts that have been encoded in it before."""

    def __init__(self, encode: _Encode) -> None:
        self._encode = encode
        self._end = _END if encode(_Only([])).decode() == _END else ""
        self._heads: dict[str, str] = {}
        self._series: dict[tuple[Any, ...], str] = {}

    async def text(self, registry: Collector) -> bytes:
        lines: list[str] = []
        known, end = self._series, perf_counter() + _SLICE_SECONDS
        for family in registry.collect():
            lines.append(self._heads.get(family.name) or self._head(family))
            for number, sample in enumerate(family.samples, 1):
                # All samples of a name have the same labels.
                key = (sample.name, *sample.labels.values())
                series = known.get(key)
                if series is None:
                    series = known[key] = _series(sample)
                if series:
                    value = sample.value
                    lines.append(f"{series} {_number(value)}\n" if value else f"{series} 0.0\n")
                if number % _LINES == 0 and perf_counter() >= end:
                    await asyncio.sleep(0)
                    end = perf_counter() + _SLICE_SECONDS
            if perf_counter() >= end:
                await asyncio.sleep(0)
                end = perf_counter() + _SLICE_SECONDS
        lines.append(self._end)
        return "".join(lines).encode()

    def _head(self, family: Metric) -> str:
        empty = Metric(family.name, family.documentation, family.type, family.unit)
        self._heads[family.name] = head = self._encode(_Only([empty])).decode().removesuffix(self._end)
        return head


def _series(sample: Sample) -> str:
    """The name and the labels, which both formats write alike; empty for a series that is left out."""
    if sample.name.endswith("_created"):
        return ""
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    number = float(value)
    if number.is_integer() and abs(number) < _PLAIN:
        return f"{number:.1f}"  # the fast way for most numbers
    text: str = floatToGoString(number)  # type: ignore[no-untyped-call]
    return text


class _Only(Collector):
    """A registry that has only these families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
