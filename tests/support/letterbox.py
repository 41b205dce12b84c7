"""A letterbox for tests in which every dead letter fits."""

import structlog

from consumer.clock import Clock
from consumer.letterbox import Letterbox


def large_letterbox(topic: str) -> Letterbox:
    """The topic takes two megabytes, and nobody tells its limit."""

    async def untold() -> None:
        return None

    return Letterbox(topic, 2 << 20, ask_limit=untold, clock=Clock.system(), log=structlog.get_logger())
