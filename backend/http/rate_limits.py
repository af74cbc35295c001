"""Limits how often a client may do something, with a bucket of permissions for each client.

A bucket holds the permissions of one minute and fills evenly: a short burst passes, and the
average stays within the limit. Belongs to the event loop's thread.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network

from backend.errors import RateLimited

_MAX_BUCKETS = 10_000


class Buckets:
    """A bucket for each key. Memory is bounded: the least recently used bucket is dropped."""

    def __init__(
        self,
        per_minute: int,
        *,
        max_buckets: int = _MAX_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` returns seconds."""
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._max_buckets = max_buckets
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """The permissions that each bucket held, and when."""

    def take(self, key: Hashable) -> int:
        """Take one permission of the key. Returns 0, or the seconds until there is one."""
        now = self._clock()
        held, since = self._buckets.pop(key, (self._capacity, now))
        held = min(self._capacity, held + (now - since) * self._per_second)
        granted = held >= 1
        self._buckets[key] = (held - 1 if granted else held, now)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return 0 if granted else max(1, math.ceil((1 - held) / self._per_second))

    def __len__(self) -> int:
        return len(self._buckets)


class RequestLimits:
    """The rate limits of requests. A limit of 0 means no limit."""

    def __init__(self, *, token_per_minute: int, failed_per_minute: int) -> None:
        self._tokens = Buckets(token_per_minute) if token_per_minute else None
        self._failures = Buckets(failed_per_minute) if failed_per_minute else None

    def take_request(self, token_id: int | None) -> int:
        """Count a request of a token if it may send one now. Returns 0, or the seconds until it
        may."""
        if self._tokens is None or token_id is None:
            return 0
        return self._tokens.take(token_id)

    def count_request(self, token_id: int | None) -> None:
        """Count a request of a token. Raises `RateLimited` when the token has sent too many."""
        wait = self.take_request(token_id)
        if wait:
            raise RateLimited(
                "the token has sent too many requests; wait for the seconds in Retry-After", wait
            )

    def count_failure(self, address: str, credential: str = "token") -> None:
        """Count a request whose token or signature was not valid. Raises `RateLimited` when the
        address has sent too many such requests. Valid requests are never counted."""
        if self._failures is None:
            return
        wait = self._failures.take(network_of(address))
        if wait:
            raise RateLimited(
                f"too many requests without a valid {credential}; wait for the seconds in "
                "Retry-After",
                wait,
            )


def network_of(address: str) -> str:
    """The network that counts as one client: a whole /64 with IPv6, otherwise the address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
    return address
