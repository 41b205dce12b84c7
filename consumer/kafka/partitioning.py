"""Which partition the producers give a key, as far as it can be known (design section 17, "Homes move").

A key's home is the task of that partition. The engine's producer is the integrator's choice: Java's client and aiokafka
choose by murmur2, librdkafka by crc32 (its ``consistent_random``, the default). Where the partitioner is not
configured, it is found out from the records that are decided. A wrong guess does no harm as long as all tasks guess the
same: events that arrive in another partition are forwarded to the home.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from zlib import crc32

from aiokafka.partitioner import murmur2

CONVINCED = 8
"""The belief changes to the other partitioner once this many more records fit that one than the believed one."""

CERTAIN = 64
"""The limit of `Evidence.score`, in both directions, so that a few records of today outweigh all of yesterday's."""

_KNOWN = 8192
"""For how many keys the murmur2 hash is remembered: computing one takes 15 µs, in Python."""


class Partitioner(Enum):
    """How producers choose a partition by the record's key."""

    MURMUR2 = "murmur2"
    CRC32 = "crc32"

    def partition_of(self, key: bytes, partitions: int) -> int:
        """The partition of a key in a topic with ``partitions`` partitions."""
        if self is Partitioner.MURMUR2:
            return _murmur2(key) % partitions
        return crc32(key) % partitions


@lru_cache(_KNOWN)
def _murmur2(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the decided records say about the partitioner.

    ``score`` is the number of records that fit only crc32, minus the number of those that fit only murmur2. A record
    that fits both, or neither (it was written when there were fewer partitions), does not count.
    """

    believed: Partitioner = Partitioner.MURMUR2
    score: int = 0

    @property
    def is_convincing(self) -> bool:
        """Whether records support the belief; else the belief is a guess."""
        return (self.score if self.believed is Partitioner.CRC32 else -self.score) >= CONVINCED

    def seen(self, key: bytes | None, partition: int, partitions: int) -> "Evidence":
        """The evidence after a record with this key was found in ``partition``, of ``partitions`` partitions."""
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
    """Where the homes of all keys are: by the number of ``partitions``, and by the partitioner that is believed in.

    ``turn`` counts how often the belief has changed; it begins with murmur2. Tasks combine the schemes that they have
    seen by taking the highest of each number (`with_seen`), so all tasks come to the same scheme in any order: neither
    a broker that is late nor a task that has seen few records leads back to an earlier scheme.
    """

    partitions: int
    turn: int = 0

    @property
    def partitioner(self) -> Partitioner:
        """The partitioner that is believed in."""
        return (Partitioner.MURMUR2, Partitioner.CRC32)[self.turn % 2]

    def believing(self, partitioner: Partitioner) -> "Scheme":
        """The scheme with this partitioner; a change of the partitioner is the next turn."""
        return self if partitioner is self.partitioner else Scheme(self.partitions, self.turn + 1)

    def with_seen(self, other: "Scheme") -> "Scheme":
        """The scheme with the highest number of partitions and the highest turn of the two."""
        return Scheme(max(self.partitions, other.partitions), max(self.turn, other.turn))

    def home(self, key: bytes | None) -> int | None:
        """The partition whose task is the home of a record key; None without a key: such a record can be in any."""
        return self.partitioner.partition_of(key, self.partitions) if key else None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own producers would choose for a key, of ``partitions`` partitions.

    The producer cannot choose it, since the record keeps its own, other key (which a dead letter repeats).
    """
    return Partitioner.MURMUR2.partition_of(key, partitions)
