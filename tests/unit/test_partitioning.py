"""Which partition a key's home is, and how that is found out (design section 17, "Homes move")."""

from zlib import crc32

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.partitioning import CERTAIN, CONVINCED, Evidence, Partitioner, Scheme

KEYS = st.binary(min_size=1, max_size=40)
SCHEMES = st.builds(Scheme, st.integers(1, 64), st.integers(0, 5))


@pytest.mark.parametrize(
    ("key", "partition"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_murmur2_is_that_of_the_java_client(key: bytes, partition: int) -> None:
    """The hashes that Kafka's own tests expect (org.apache.kafka.common.utils.UtilsTest)."""
    assert Partitioner.MURMUR2.partition_of(key, 24) == (partition & 0x7FFFFFFF) % 24


@given(KEYS, st.integers(1, 100))
def test_murmur2_is_that_of_aiokafka(key: bytes, partitions: int) -> None:
    ours = Partitioner.MURMUR2.partition_of(key, partitions)

    assert ours == DefaultPartitioner()(key, list(range(partitions)), list(range(partitions)))


@pytest.mark.parametrize(("key", "checksum"), [(b"123456789", 0xCBF43926), (b"a", 0xE8B7BE43)])
def test_crc32_is_the_usual_one_without_a_sign(key: bytes, checksum: int) -> None:
    assert crc32(key) == checksum
    assert Partitioner.CRC32.partition_of(key, 24) == checksum % 24


@pytest.mark.parametrize("partitioner", Partitioner)
@pytest.mark.parametrize("partitions", [2, 6, 24])
def test_the_partitioner_is_found_out_from_the_records(partitioner: Partitioner, partitions: int) -> None:
    evidence = Evidence()
    for number in range(40 * CONVINCED):
        key = f"session-{number}".encode()
        evidence = evidence.seen(key, partitioner.partition_of(key, partitions), partitions)

    assert evidence.believed is partitioner


def test_records_of_fewer_partitions_convince_of_nothing_for_long() -> None:
    """A log that grew from 2 to 6 partitions: what was written before tells nothing of 6."""
    evidence = Evidence()
    for number in range(1000):
        key = f"old-{number}".encode()
        evidence = evidence.seen(key, Partitioner.CRC32.partition_of(key, 2), 6)
    for number in range(4 * (CERTAIN + CONVINCED)):
        key = f"new-{number}".encode()
        evidence = evidence.seen(key, Partitioner.MURMUR2.partition_of(key, 6), 6)

    assert evidence.believed is Partitioner.MURMUR2


@pytest.mark.parametrize(("key", "partitions"), [(None, 6), (b"", 6), (b"session", 1)])
def test_what_has_no_key_or_no_choice_says_nothing(key: bytes | None, partitions: int) -> None:
    assert Evidence().seen(key, 0, partitions) == Evidence()


@given(KEYS, st.integers(0, 23))
def test_a_record_that_fits_both_or_neither_says_nothing(key: bytes, partition: int) -> None:
    fits = {each: each.partition_of(key, 24) == partition for each in Partitioner}

    assert (Evidence().seen(key, partition, 24) == Evidence()) == (len(set(fits.values())) == 1)


@given(st.lists(SCHEMES, min_size=1).flatmap(lambda seen: st.tuples(st.just(seen), st.permutations(seen))))
def test_all_tasks_come_to_the_same_scheme_in_whatever_order_they_see(
    seen: tuple[list[Scheme], list[Scheme]],
) -> None:
    found = []
    for schemes in seen:
        scheme = schemes[0]
        for other in (*schemes[1:], *schemes):
            scheme = scheme.with_seen(other)
        found.append(scheme)

    assert found[0] == found[1]
    assert found[0].partitions == max(scheme.partitions for scheme in seen[0])


@given(SCHEMES, st.sampled_from(Partitioner))
def test_another_belief_is_the_next_turn(scheme: Scheme, partitioner: Partitioner) -> None:
    after = scheme.believing(partitioner)

    assert after.partitioner is partitioner
    assert after.with_seen(scheme) == after
    assert after.believing(partitioner) is after


@given(SCHEMES, KEYS)
def test_the_home_is_where_the_partitioner_puts_the_key(scheme: Scheme, key: bytes) -> None:
    assert scheme.home(key) == scheme.partitioner.partition_of(key, scheme.partitions)
    assert scheme.home(None) is None
    assert scheme.home(b"") is None
