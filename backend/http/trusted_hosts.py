"""Checks the host that a request is for.

The owner of a page can let its host name point at the service (DNS rebinding). The browser then
sees one origin, so CORS does not stop the page, but the `Host` header still has the page's name.
"""

from collections.abc import Collection, Sequence

from backend.http.request_head import host_without_port

UNTRUSTED_HOST = "the Host header does not match STRONGROOM_TRUSTED_HOSTS"


class TrustedHosts:
    """The configured hosts, as names in lower case, addresses, and `*.` before a name."""

    def __init__(self, patterns: Sequence[str], probes: Collection[str]) -> None:
        """`probes` are the paths that may be called by address: they take no input and show no
        stored data."""
        self._probes = frozenset(probes)
        self._names = frozenset(patterns)
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))

    def permit(self, host: bytes | None, path: str) -> bool:
        """Whether the host is a trusted one, or the path is a probe's."""
        if host is not None and self._is_known(host.decode("latin-1").lower()):
            return True
        return path in self._probes

    def _is_known(self, host: str) -> bool:
        name = host_without_port(host)
        return name in self._names or name.endswith(self._suffixes)
