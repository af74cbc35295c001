"""Reads the client's address from trusted proxies in front of the service."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

_SCHEMES = frozenset(("http", "https"))


class TrustedProxies:
    """The networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        # Most requests come from the same few proxies.
        self._trusts = lru_cache(1024)(self._is_within)

    def apply(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Put the client's own address and scheme into `scope`, if a trusted proxy sent the
        request.

        A connection without an address, such as one over a Unix socket, is never a proxy's.
        """
        peer = scope.get("client")
        if peer is None or not self._trusts(peer[0]):
            return
        forwarded = headers.get(b"x-forwarded-for")
        if forwarded is not None:
            scope["client"] = (self._client(peer[0], forwarded.decode("latin-1")), 0)
        # The last value was written by the trusted proxy itself.
        scheme = headers.get(b"x-forwarded-proto", b"").decode("latin-1")
        scheme = scheme.rpartition(",")[2].strip().lower()
        if scheme in _SCHEMES:
            scope["scheme"] = scheme

    def _client(self, peer: str, forwarded: str) -> str:
        """The nearest hop that is not a trusted proxy. Each proxy appends the address of its own
        client, so everything before that hop may be made up."""
        nearest = peer
        for hop in reversed(forwarded.split(",")):
            address = _address(_without_port(hop.strip()))
            if address is None:
                # A value such as `unknown`: the proxy's own address stands for its clients.
                return nearest
            nearest = str(address)
            if not self._trusts(nearest):
                return nearest
        return nearest

    def _is_within(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    # A text with more than one colon is an IPv6 address.
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
