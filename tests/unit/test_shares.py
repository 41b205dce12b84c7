"""Who gives way where something is short: the peer who has the most of it, and of his the oldest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.receivers.posts.shares import Shares, peer_of


def test_who_has_the_most_gives_first_and_of_his_the_oldest() -> None:
    shares = Shares[str]()
    assert shares.first_to_give() is None
    shares.add("b1", "b")
    for item in ("a1", "a2", "a3"):
        shares.add(item, "a")
    assert shares.first_to_give() == "a1"
    shares.remove("a1")
    shares.add("b1", "b", 5)
    assert (shares.first_to_give(), shares.total, len(shares)) == ("b1", 8, 3)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans(), st.integers(1, 9))))
def test_sums_are_those_of_what_is_there(steps: list[tuple[str, int, bool, int]]) -> None:
    shares, there = Shares[tuple[str, int]](), dict[tuple[str, int], int]()
    for peer, number, is_there, size in steps:
        item = (peer, number)
        if is_there:
            shares.add(item, peer, size)
            there[item] = there.get(item, 0) + size
        else:
            shares.remove(item)
            there.pop(item, None)
        assert shares.total == sum(there.values())
        assert len(shares) == len(there)
        first = shares.first_to_give()
        if there:
            totals = {peer: sum(size for (of, _), size in there.items() if of == peer) for peer in "abc"}
            assert first is not None
            assert totals[first[0]] == max(totals.values())
            assert first == next(item for item in there if item[0] == first[0])
        else:
            assert first is None


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7"),
        ("fe80::1%eth0", "fe80::2"),
        ("", ""),
        ("nowhere", "nowhere"),
    ],
)
def test_addresses_of_one_peer(host: str, same: str) -> None:
    assert peer_of(host) == peer_of(same)


@pytest.mark.parametrize(("one", "other"), [("192.0.2.1", "192.0.2.2"), ("2001:db8:1:2::1", "2001:db8:1:3::1")])
def test_addresses_of_two(one: str, other: str) -> None:
    assert peer_of(one) != peer_of(other)
