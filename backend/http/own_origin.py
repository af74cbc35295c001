"""Recognises the service's own pages, and limits calls without a token to these and to this
machine's own programs.

A browser on this machine can reach a loopback address for any page that it shows. That page must
not call the service: neither by a request to `localhost` (the browser tells its other origin), nor
by one to a host name of its own that points at 127.0.0.1 (DNS rebinding, visible in `Host`).
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
"""The values of `Sec-Fetch-Site` for a request that no other site's page has caused."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OwnOrigin:
    """Recognises requests from this machine and from the service's own pages."""

    def __init__(self, public_url: str | None, permitted: Collection[str]) -> None:
        """`permitted` are other origins whose pages may call the service."""
        self._public_url = public_url
        self._permitted = frozenset(permitted)

    def refusal(self, scheme: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Why the request needs a token; `None` when it needs none."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not _is_loopback(host):
            return OTHER_HOST
        return None if self.is_of_own_page(scheme, headers) else OTHER_ORIGIN

    def is_of_own_page(self, scheme: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether no page has caused the request, as far as its headers tell, but the service's own
        or a permitted one."""
        origin = headers.get(b"origin")
        if origin is not None:
            named = origin.decode("latin-1")
            if named in self._permitted:
                return True
            host = headers.get(b"host", b"").decode("latin-1").lower()
            if named != (self._public_url or origin_of(scheme, host)):
                return False
        return headers.get(b"sec-fetch-site", b"none") in _OWN_SITES


def origin_of(scheme: str, host: str) -> str:
    """The origin of the pages at `host`, as a browser sends it. `host` may have a port."""
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def _is_loopback(host: str) -> bool:
    name = host_without_port(host).removesuffix(".")
    # RFC 6761: every name below localhost is a loopback name.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback
