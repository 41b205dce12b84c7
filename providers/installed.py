"""Providers that other distributions bring: the entry points of the group `providers.provider.ENTRY_POINTS`.

What one of them does wrong is a mistake of its own section, told where that is checked. Without that section nobody
notices it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ConfigDict, model_validator

from providers.contained import ProviderFault, containing
from providers.names import check_name
from providers.provider import ENTRY_POINTS, Provider, ProviderKind
from providers.settings import PipelineSettings, ProviderSettings


@dataclass(frozen=True, slots=True)
class Installed:
    """What was found: the providers by their names, and what is not taken, a sentence for each."""

    kinds: Mapping[str, ProviderKind]
    refused: Sequence[str] = ()


def installed(built_in: Collection[str], found: Iterable[EntryPoint] | None = None) -> Installed:
    """The providers of other distributions. Their code is imported, once.

    A name of ours cannot be taken, nor one that no topic can have: these are refused. One that cannot be imported, or
    that two distributions bring, is there as a provider that no section of which is valid, with the reason.
    """
    by_name: dict[str, list[EntryPoint]] = {}
    refused: list[str] = []
    for point in entry_points(group=ENTRY_POINTS) if found is None else found:
        try:
            check_name(point.name, built_in)
        except ValueError as error:
            refused.append(f"the provider {point.name!r} of {_distribution(point)} is not taken: its name {error}")
        else:
            by_name.setdefault(point.name, []).append(point)
    return Installed({name: _kind(points) for name, points in sorted(by_name.items())}, refused)


def _kind(points: Sequence[EntryPoint]) -> ProviderKind:
    distributions = sorted({_distribution(point) for point in points})
    if len({point.value for point in points}) > 1:
        return unusable(f"more than one distribution brings this provider: {', '.join(distributions)}")
    try:
        with containing(f"the provider of {distributions[0]} cannot be loaded"):
            kind: Any = points[0].load()
            return _checked(kind)
    except ProviderFault as fault:
        return unusable(str(fault))


def _checked(kind: Any) -> ProviderKind:
    if not isinstance(kind, ProviderKind):
        raise ProviderFault(f"{ENTRY_POINTS}: must be a ProviderKind, not of the type {type(kind).__name__}")
    if not (isinstance(kind.settings, type) and PipelineSettings in kind.settings.__mro__):
        raise ProviderFault("settings: must be a model that extends ProviderSettings")
    if not callable(kind.build):
        raise ProviderFault("build: must make the provider")
    return kind


def unusable(reason: str) -> ProviderKind:
    """A provider that cannot be used: each section of it is a mistake, for this ``reason``."""

    class UnusableSettings(ProviderSettings):
        __doc__ = None
        model_config = ConfigDict(extra="allow")

        default_key_template = "{guard}:{session_id}"

        @model_validator(mode="before")
        @classmethod
        def _is_never_valid(cls, value: Any) -> Any:
            raise ValueError(reason)

    def build(settings: Any) -> Provider:
        raise ProviderFault(reason)

    return ProviderKind(UnusableSettings, build)  # type: ignore[type-abstract]  # of which there is never one


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"
