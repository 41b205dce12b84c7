"""What a member knows of all partitions of its input, whichever members own them (design section 17, "Homes move").

Silence about a problem means that it is over only if its events would have come here. The topic can have grown: then
they go to another partition, and those that come there late are forwarded. So the member asks again and again how many
partitions there are. For a while after homes have moved, it also asks how far all partitions are decided, and where the
feedback topic ended after that. All times are by the monotonic clock.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from structlog.typing import FilteringBoundLogger

from consumer.input.progress import GroupPosition
from consumer.timing.clock import Clock

LOOK_SECONDS = 2.0
"""Seconds between two looks."""

ASK_SECONDS = 10.0
"""The longest time for all answers of one look, in seconds."""

TRIES = 5
TRY_SECONDS = 1.0
"""How often a broker is asked again that knows of fewer partitions than there were, and the seconds in between."""

_LOOKS = 100
"""How many looks are remembered while the group has not come to their ends."""

_HEARD = 30


class Admin(Protocol):
    """The part of the admin client that is used here."""

    async def describe_topics(self, topics: list[str]) -> list[dict[str, object]]: ...


class WholeInput:
    """The partitions of one topic.

    ``progress`` returns the group's offsets of all partitions, which do not pass what is owed. ``decided`` returns how
    far some partitions are decided, ``feedback_ends`` where the partitions of the feedback topic end, ``is_needed``
    whether a task needs to know that now. ``grown`` is called when there are more partitions than before.
    """

    def __init__(
        self,
        topic: str,
        *,
        admin: Admin,
        progress: Callable[[], Awaitable[Mapping[int, GroupPosition]]],
        decided: Callable[[Collection[int]], Awaitable[Mapping[int, int]]],
        feedback_ends: Callable[[], Awaitable[Mapping[int, int]]],
        is_needed: Callable[[], bool],
        clock: Clock,
        log: FilteringBoundLogger,
        grown: Callable[[], object] = lambda: None,
    ) -> None:
        self._grown = grown
        self._topic = topic
        self._admin = admin
        self._progress = progress
        self._decided = decided
        self._feedback_ends = feedback_ends
        self._is_needed = is_needed
        self._clock = clock
        self._log = log
        self._looks: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=_LOOKS)
        self._heard: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=_HEARD)
        self._is_unknown = False
        self.partitions = 0
        """How many partitions there were at the last count."""
        self.counted_at: float | None = None
        """When the last count was asked for; None before the first."""

    async def count(self, at_least: int = 0) -> int:
        """Ask how many partitions there are. A broker that says fewer than ``at_least`` may not know of a growth yet,
        so it is asked again before its answer is believed.

        Raises `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer as it should.
        """
        for number in range(TRIES):
            if number:
                await asyncio.sleep(TRY_SECONDS)
            moment = self._clock.monotonic()
            async with asyncio.timeout(ASK_SECONDS):
                (described,) = await self._admin.describe_topics([self._topic])
            partitions = described["partitions"]
            if not isinstance(partitions, list) or not partitions:
                raise UnknownTopicOrPartitionError(self._topic)
            before, self.partitions, self.counted_at = self.partitions, len(partitions), moment
            if 0 < before < self.partitions:
                self._grown()
            if self.partitions >= at_least:
                break
        return self.partitions

    def decided_to(self, taken: Mapping[int, int]) -> float | None:
        """The latest moment up to which nothing is missing for a task that has ``taken`` the feedback topic so far: all
        that was produced before it is decided, or was forwarded and taken. None if there is no such moment."""
        for moment, ends in reversed(self._heard):
            if all(taken.get(partition, 0) >= end for partition, end in ends.items()):
                return moment
        return None

    async def run(self) -> None:
        """Look every `LOOK_SECONDS`, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self.look()
            except (KafkaError, OSError, TimeoutError) as error:
                if not self._is_unknown:
                    self._log.warning("whole_input_unknown", error=repr(error))
                self._is_unknown = True
            except Exception as error:  # a bug must not stop the looks: no quiet alert would ever be resolved
                self._log.error("whole_input_unknown", exc_info=error)
            else:
                if self._is_unknown:
                    self._log.info("whole_input_known")
                self._is_unknown = False
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. Raises `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer as it should."""
        moment = self._clock.monotonic()
        count = await self.count()
        if not self._is_needed():
            self._looks.clear()
            self._heard.clear()
            return
        positions = await self._progress()
        if not all(partition in positions for partition in range(count)):
            return
        known = {partition: found.committed for partition, found in positions.items()}
        oldest = self._looks[0][1] if self._looks else {}
        if behind := [partition for partition, end in oldest.items() if known.get(partition, 0) < end]:
            # An owed trigger holds the group's offset back, for a day if the provider refuses it for ever.
            for partition, position in (await self._decided(behind)).items():
                known[partition] = max(known.get(partition, 0), position)
        self._looks.append((moment, {partition: found.end for partition, found in positions.items()}))
        decided_to = None
        while self._looks and all(known.get(partition, 0) >= end for partition, end in self._looks[0][1].items()):
            decided_to, _ = self._looks.popleft()
        if decided_to is not None:
            # Asked only now, so that all is below the ends that was forwarded of the records decided before.
            self._heard.append((decided_to, await self._feedback_ends()))
