"""Where no token is asked for: only this machine's own programs and the service's own pages.

A browser on this machine reaches a loopback address for any page that it shows. That page must not
act through it, neither by a request to `localhost` (another origin, which a browser tells) nor by
one for a name of its own that it lets point at 127.0.0.1 (DNS rebinding, which the host tells).
"""

from collections.abc import Collection, Mapping
from ipaddress import IPv6Address, ip_address

from backend.http.request_head import host_without_port

OTHER_HOST = (
    "without tokens the service answers only to loopback names, such as localhost and 127.0.0.1"
)
OTHER_ORIGIN = (
    "without tokens the service answers only its own pages and those of STRONGROOM_CORS_ORIGINS"
)
_OWN_SITES = frozenset((b"same-origin", b"none"))
"""What a browser says of a request that no other page has caused."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OwnOrigin:
    """Tells requests of this machine and of the service's own pages from all others."""

    def __init__(self, public_url: str | None, permitted: Collection[str]) -> None:
        """`permitted` are the origins whose pages may call the service, too."""
        self._public_url = public_url
        self._permitted = frozenset(permitted)

    def refusal(self, scheme: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Why such a request may not do without a token; None when it may."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not _is_loopback(host):
            return OTHER_HOST
        origin = headers.get(b"origin")
        if origin is not None:
            named = origin.decode("latin-1")
            if named in self._permitted:
                return None
            if named != (self._public_url or origin_of(scheme, host)):
                return OTHER_ORIGIN
        if headers.get(b"sec-fetch-site", b"none") not in _OWN_SITES:
            return OTHER_ORIGIN
        return None


def origin_of(scheme: str, host: str) -> str:
    """The origin of the pages at `host`, which may have a port, as a browser sends it."""
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def _is_loopback(host: str) -> bool:
    name = host_without_port(host).removesuffix(".")
    # RFC 6761: every name below localhost is loopback's.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback
