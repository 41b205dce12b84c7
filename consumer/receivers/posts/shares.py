"""What several peers have of something that is short, and who gives first: so that one who takes all of it keeps
nobody else out. Pure."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_NETWORK_BITS = 64
"""How many bits of an IPv6 address name its network: whoever has one address of a network has all of it (RFC 6177)."""


@dataclass(slots=True)
class _Share(Generic[T]):
    sizes: dict[T, int] = field(default_factory=dict)  # the oldest first
    total: int = 0


class Shares(Generic[T]):
    """Items with their sizes, by the peer whose they are."""

    def __init__(self) -> None:
        self.total = 0
        self._by_peer: dict[str, _Share[T]] = {}
        self._peers: dict[T, str] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, item: T) -> bool:
        return item in self._peers

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._peers))

    def add(self, item: T, peer: str, size: int = 1) -> None:
        """Count a new item of this peer, or so much more of one that is there."""
        share = self._by_peer.setdefault(self._peers.setdefault(item, peer), _Share())
        share.sizes[item] = share.sizes.get(item, 0) + size
        share.total += size
        self.total += size

    def remove(self, item: T) -> None:
        """Count the item no longer, if it was there."""
        peer = self._peers.pop(item, None)
        if peer is None:
            return
        share = self._by_peer[peer]
        size = share.sizes.pop(item)
        share.total -= size
        self.total -= size
        if not share.sizes:
            del self._by_peer[peer]

    def first_to_give(self) -> T | None:
        """The oldest item of the peer who has the most of all; None if there is none."""
        most = max(self._by_peer.values(), key=_total, default=None)
        return None if most is None else next(iter(most.sizes))


def _total(share: _Share[T]) -> int:
    return share.total


def peer_of(host: str) -> str:
    """Whom an address belongs to: itself, or its network where addresses are many (IPv6). What is none is itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> (128 - _NETWORK_BITS):016x}/{_NETWORK_BITS}"
