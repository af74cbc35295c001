"""What a client is told when it is made."""

import os
import re
import ssl
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from strongroom._errors import NotConfigured

DEFAULT_TIMEOUT = 30.0
"""Seconds for a call, with all that it is sent again."""
DEFAULT_RETRIES = 5
DEFAULT_LIMITS = httpx.Limits(
    max_connections=100,
    max_keepalive_connections=20,
    # The service closes an idle connection after 5 s. A change that is sent at that moment would
    # be lost, and nothing would tell whether it had its effect.
    keepalive_expiry=4.0,
)
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Options:
    """Where a client sends its calls, and how patient it is."""

    url: str
    """Without a slash at the end."""
    headers: dict[str, str]
    timeout: float | None
    max_retries: int

    def __repr__(self) -> str:
        return f"Options(url={self.url!r})"


def options(
    url: str | None, token: str | None, *, timeout: float | None, max_retries: int
) -> Options:
    """The options with what the environment says about the rest."""
    headers = {"User-Agent": "strongroom-python", "Accept": "application/json"}
    given = _token(token)
    if given:
        headers["Authorization"] = f"Bearer {given}"
    return Options(_url(url), headers, timeout, max_retries)


def _url(given: str | None) -> str:
    text = os.environ.get("STRONGROOM_URL", "") if given is None else given
    if not text:
        raise NotConfigured("set STRONGROOM_URL, or give the client a url")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise NotConfigured(
            "the URL of the service must look like https://strongroom.example.org: "
            "see STRONGROOM_URL, or url"
        )
    if url.userinfo:
        raise NotConfigured("leave name and password out of the URL: the token says who you are")
    return str(url).rstrip("/")


def _token(given: str | None) -> str:
    token = os.environ.get("STRONGROOM_TOKEN") if given is None else given
    if token is None:
        raise NotConfigured(
            "set STRONGROOM_TOKEN, or give the client a token; for a service that takes no tokens, "
            "an empty one"
        )
    token = token.strip()
    if token and not _TOKEN.fullmatch(token):
        raise NotConfigured(
            "the token has characters that no token has: see STRONGROOM_TOKEN, or token"
        )
    return token


def tls(url: str, verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """How the service proves who it is. Without TLS no certificates are read, which takes 30 ms;
    then there is a context for proxies that trusts no certificate."""
    if verify is True and url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return verify


def no_cookies() -> CookieJar:
    """A jar that takes none: the token says who the client is, and a session would get in its
    way."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))
