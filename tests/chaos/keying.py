"""Which problem an event belongs to: the dedup keys that the members render, now and before a template was changed."""

from collections.abc import Iterable, Sequence

from tests.chaos.happened import Rendering
from tests.chaos.reader import Event

AGENT = ".agent"
"""Behind the name of a session it is the name of its agent."""

BY_AGENT = "{guard}:{agent_id}"
"""A template for PagerDuty that lacks what records are keyed by: a repartition stage is needed, and no session's end
ends anything. (Each session has an agent of its own, so these are the same problems under other names.)"""


def dedup_key(provider: str, event: Event, renderings: Iterable[Rendering] = ()) -> str:
    """The key of an event. (Nothing in the generated names has to be escaped.)"""
    if provider != "pagerduty":
        return f"clawdstrike-{event.guard}-{event.session}"
    return f"{event.guard}:{event.session}{AGENT if _is_by_agent(provider, event.sent, renderings) else ''}"


def session_of(key: str, provider: str) -> str:
    """The session in a key. (No generated guard or session has its separator.)"""
    return key.partition(":")[2].removesuffix(AGENT) if provider == "pagerduty" else key.split("-", 2)[2]


def is_of(key: str, provider: str, prefix: str) -> bool:
    """Whether it is a key of one of the sessions whose name begins so."""
    return f":{prefix}" in key if provider == "pagerduty" else f"-{prefix}" in key


def ends_of(key: str, provider: str, ends: Sequence[Event], renderings: Sequence[Rendering]) -> list[Event]:
    """Those of a session's ends that end the problem of this key: they came while keys were rendered like it."""
    if provider == "pagerduty" and key.endswith(AGENT):
        return []
    return [end for end in ends if not _is_by_agent(provider, end.sent, renderings)]


def _is_by_agent(provider: str, at: float, renderings: Iterable[Rendering]) -> bool:
    by_agent = False
    for one in renderings:
        if one.provider == provider and one.since <= at:
            by_agent = one.by_agent
    return by_agent
