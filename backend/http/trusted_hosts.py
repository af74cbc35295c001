"""The hosts that requests may be for.

A page whose own name its owner lets point at the service (DNS rebinding) is of the same origin to
a browser, so CORS does not keep it out; the `Host` header still has that name.
"""

from collections.abc import Collection, Sequence

from backend.http.request_head import host_without_port

UNTRUSTED_HOST = "the Host header does not match STRONGROOM_TRUSTED_HOSTS"


class TrustedHosts:
    """The configured hosts, as names in lower case, addresses, and `*.` before a name."""

    def __init__(self, patterns: Sequence[str], probes: Collection[str]) -> None:
        """`probes` are the paths that are asked at an address: they take no input and tell nothing
        of what is stored."""
        self._probes = frozenset(probes)
        self._names = frozenset(patterns)
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))

    def permit(self, host: bytes | None, path: str) -> bool:
        """Whether a request for this host is for one of them, or asks how the service is."""
        if host is not None and self._is_known(host.decode("latin-1").lower()):
            return True
        return path in self._probes

    def _is_known(self, host: str) -> bool:
        name = host_without_port(host)
        return name in self._names or name.endswith(self._suffixes)
