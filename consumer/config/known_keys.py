"""Which keys a configuration can have, and where; and what to advise about an unknown key."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from consumer.config.models import Config
from consumer.config.problem import Location, dotted

_NAMED: Final = 3
"""How many places are named for a key that belongs somewhere else."""

_ANY: Final = "*"
"""Stands for a name, or a position in a list, that the user chooses."""

_LONGEST: Final = 100
"""The most characters of a key that may be a mistyped one."""


def advice(location: Location) -> str:
    """What to do about an unknown key: the name that was meant, where it belongs, or which keys there are.

    One line without a full stop; empty where there is no advice.
    """
    key, parent = str(location[-1]), _pattern(location[:-1])
    allowed = _keys().get(parent)
    if not allowed:
        return ""
    if len(key) <= _LONGEST and (near := get_close_matches(key, allowed, 1, 0.8)):
        return f"`{near[0]}` is meant?"
    if places := _places(key, parent):
        return f"`{key}` belongs under {' or '.join(f'`{dotted(place)}`' for place in places)}"
    if len(key) <= _LONGEST and (near := get_close_matches(key, allowed, 1)):
        return f"`{near[0]}` is meant? {_allowed(allowed)}"
    return _allowed(allowed)


def _allowed(keys: Sequence[str]) -> str:
    return f"there is {', '.join(keys)}"


def _places(key: str, parent: Location) -> list[Location]:
    """The other places that have this key: only those whose path has the most steps in common with ``parent``."""
    shared = {place: _shared(place, parent) for place, keys in _keys().items() if key in keys}
    nearest = max(shared.values(), default=0)
    places = [place for place, common in shared.items() if common == nearest]
    return sorted(places, key=lambda place: place.count(_ANY))[:_NAMED]


def _shared(one: Location, other: Location) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _pattern(location: Location) -> Location:
    """The place in the schema for a place in a file: names and positions that the user chooses become ``*``."""
    found: Location = ()
    for step in location:
        found = (*found, step) if (*found, step) in _keys() else (*found, _ANY)
    return found


@cache
def _keys() -> Mapping[Location, Sequence[str]]:
    """The keys of every mapping and list of the configuration by its place; empty where the user chooses the names."""
    return dict(_keys_of(Config, ()))


def _keys_of(model: type[BaseModel], at: Location) -> Iterator[tuple[Location, Sequence[str]]]:
    yield at, list(model.model_fields)
    for name, field in model.model_fields.items():
        yield from _within(field.annotation, (*at, name))


def _within(annotation: Any, at: Location) -> Iterator[tuple[Location, Sequence[str]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _keys_of(annotation, at)
        return
    kind = get_origin(annotation)
    if kind in (tuple, list, dict):
        yield at, ()
        yield from _within(
            next(iter(get_args(annotation)[::-1] if kind is dict else get_args(annotation))), (*at, _ANY)
        )
    elif kind is not None:
        for each in get_args(annotation):
            yield from _within(each, at)
