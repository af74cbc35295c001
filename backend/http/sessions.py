"""Sessions of browsers: their cookie, and the checks that keep other pages from using it.

A browser adds the cookie to requests of other pages too: of every port of the same host, since
sites have no ports. Such a page must neither change nor read anything, and must not sign the user
in as somebody else.
"""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from starlette.types import Scope

from backend.errors import Refused, Unauthenticated
from backend.http.own_origin import OwnOrigin
from backend.http.request_head import Headers, port_of

REQUEST_HEADER: Final = "X-Strongroom-Request"
_REQUEST_HEADER = REQUEST_HEADER.lower().encode()
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OTHER_PAGE = (
    "only the service's own pages and those of STRONGROOM_CORS_ORIGINS can use or begin a session: "
    "send a token, or set STRONGROOM_PUBLIC_URL to the URL under which browsers see the service"
)
_UNSAFE = (
    f"to change something with a session, send the header {REQUEST_HEADER}: 1 and an Origin that "
    "is the service's own or one of STRONGROOM_CORS_ORIGINS"
)
_SEVERAL = "the session's cookie was sent more than once: remove the cookies of this name"


class SessionCookies:
    """Reads and writes the cookie of sessions."""

    def __init__(self, public_url: str | None, own_origin: OwnOrigin) -> None:
        self._is_secure = public_url is not None and public_url.startswith("https:")
        # Browsers take such a name only for a cookie that is `Secure`, for `/` and for this host
        # alone, so that no other host of the domain can set it.
        self._prefix = "__Host-" * self._is_secure + "strongroom_session_"
        self._own_origin = own_origin

    def name(self, scope: Scope, headers: Headers) -> str:
        """The name of the cookie. It has the port that the browser sees, because a browser sends
        the cookies of a host to all of its ports."""
        port = port_of(headers.get(b"host", b""))
        if port is None:
            server = scope.get("server")
            default = 443 if self._is_secure or scope["scheme"] == "https" else 80
            port = default if b"host" in headers or server is None else server[1]
        return f"{self._prefix}{port}"

    def value(self, scope: Scope, headers: Headers) -> bytes | None:
        """The value of the request's cookie; `None` if it has none. Raises `Unauthenticated` for
        several cookies of the name: another port of the host may have set one of them."""
        cookies = headers.get(b"cookie")
        if cookies is None:
            return None
        name = self.name(scope, headers).encode()
        pairs = [pair.strip(b" \t").partition(b"=") for pair in cookies.split(b";")]
        values = [value for found, is_pair, value in pairs if is_pair and found == name]
        if len(values) > 1:
            raise Unauthenticated(_SEVERAL)
        return values[0] if values else None

    def require_permitted(self, method: str, scope: Scope, headers: Headers) -> None:
        """Raises `Refused` for a request with a cookie that another page may have caused."""
        refusal = self.refusal(method, scope["scheme"], headers)
        if refusal is not None:
            raise Refused(refusal)

    def refusal(self, method: str, scheme: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Why such a request is refused; `None` if it is not."""
        if not self._own_origin.is_of_own_page(scheme, headers):
            return _OTHER_PAGE
        if method in _SAFE_METHODS:
            return None
        is_meant = b"origin" in headers and headers.get(_REQUEST_HEADER) == b"1"
        return None if is_meant else _UNSAFE

    def require_own_login(self, scope: Scope, headers: Headers) -> None:
        """Raises `Refused` if another page asks for a session, with which it would sign the user in
        as somebody else."""
        if not self._own_origin.is_of_own_page(scope["scheme"], headers):
            raise Refused(_OTHER_PAGE)

    def begun(self, scope: Scope, headers: Headers, value: str, lifetime: timedelta) -> str:
        """The value of `Set-Cookie` for a session that has begun."""
        return self._set(scope, headers, value, math.floor(lifetime.total_seconds()))

    def ended(self, scope: Scope, headers: Headers) -> str:
        """The value of `Set-Cookie` that removes the cookie."""
        return self._set(scope, headers, "", 0)

    def _set(self, scope: Scope, headers: Headers, value: str, seconds: int) -> str:
        name = self.name(scope, headers)
        secure = "; Secure" if self._is_secure else ""
        return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


SECURITY_SCHEME: Final[dict[str, Any]] = {
    "type": "apiKey",
    "in": "cookie",
    "name": "strongroom_session_8000",
    "description": "The cookie of `POST /api/session`; its name has the port, and begins with "
    "`__Host-` where it is `Secure`. Methods other than GET also need the header "
    f"`{REQUEST_HEADER}: 1` and an `Origin` of the service's own or of a permitted page.",
}
"""The cookie in the OpenAPI document."""
