"""Which partition the producers give a key, as far as it can be known (design section 17, "Homes move").

A key's home is the task of that partition. The engine's producer is the integrator's choice: Java's client and aiokafka
choose by murmur2, librdkafka by crc32 (its ``consistent_random``, the default). Where this is not configured it is
found out from the records that are decided. A wrong guess does no harm, as long as all tasks guess the same: what comes
elsewhere is forwarded to the home.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from zlib import crc32

from aiokafka.partitioner import murmur2

CONVINCED = 8
"""By so many records more than speak for the other one a partitioner is believed to be another than it was."""

CERTAIN = 64
"""More records than this change nothing: what was true yesterday is outweighed by this many of today."""

_KNOWN = 8192
"""Keys of which murmur2 is remembered: it is computed in Python, and takes 15 µs."""


class Partitioner(Enum):
    """How producers choose a partition by the record's key."""

    MURMUR2 = "murmur2"
    CRC32 = "crc32"

    def partition_of(self, key: bytes, partitions: int) -> int:
        """The partition of a key among so many."""
        if self is Partitioner.MURMUR2:
            return _murmur2(key) % partitions
        return crc32(key) % partitions


@lru_cache(_KNOWN)
def _murmur2(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the decided records say about the partitioner.

    ``score`` is how many more of those that tell the two apart fit crc32 than murmur2. A record tells nothing where
    both give it the same partition, nor where it fits neither (it was written when there were fewer partitions).
    """

    believed: Partitioner = Partitioner.MURMUR2
    score: int = 0

    @property
    def is_convincing(self) -> bool:
        """Whether records speak for what is believed; else it is a guess."""
        return (self.score if self.believed is Partitioner.CRC32 else -self.score) >= CONVINCED

    def seen(self, key: bytes | None, partition: int, partitions: int) -> "Evidence":
        """A record with this key was found in this partition, of so many."""
        if not key or partitions < 2:
            return self
        fits_crc32 = Partitioner.CRC32.partition_of(key, partitions) == partition
        if fits_crc32 == (Partitioner.MURMUR2.partition_of(key, partitions) == partition):
            return self
        score = max(-CERTAIN, min(CERTAIN, self.score + (1 if fits_crc32 else -1)))
        if self.believed is Partitioner.MURMUR2 and score >= CONVINCED:
            return Evidence(Partitioner.CRC32, score)
        if self.believed is Partitioner.CRC32 and score <= -CONVINCED:
            return Evidence(Partitioner.MURMUR2, score)
        return self if score == self.score else Evidence(self.believed, score)


@dataclass(frozen=True, slots=True)
class Scheme:
    """Where the homes of all keys are: among so many ``partitions``, by the partitioner that is believed in.

    ``turn`` counts how often that belief has changed, from murmur2 on. What tasks have seen of it is put together
    number by number (`with_seen`), so that all come to the same whatever the order: neither a broker that is late nor a
    task that has seen few records leads back to an earlier one.
    """

    partitions: int
    turn: int = 0

    @property
    def partitioner(self) -> Partitioner:
        """The one that is believed in."""
        return (Partitioner.MURMUR2, Partitioner.CRC32)[self.turn % 2]

    def believing(self, partitioner: Partitioner) -> "Scheme":
        """The same with this partitioner, which is the next turn if it is another one."""
        return self if partitioner is self.partitioner else Scheme(self.partitions, self.turn + 1)

    def with_seen(self, other: "Scheme") -> "Scheme":
        """The highest of both that was ever seen."""
        return Scheme(max(self.partitions, other.partitions), max(self.turn, other.turn))

    def home(self, key: bytes | None) -> int | None:
        """The partition whose task speaks for a record key; None if a record without it could be in any."""
        return self.partitioner.partition_of(key, self.partitions) if key else None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among so many, as Kafka's own producers choose it.

    It is chosen here because the record keeps its own key, which a dead letter repeats.
    """
    return Partitioner.MURMUR2.partition_of(key, partitions)
