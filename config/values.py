"""How the text of a setting becomes its value. Each raises `ValueError` for what is none."""

import re
from pathlib import Path
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]")


def clean(text: object) -> object:
    """Text without space around it; anything else as it is, here and below."""
    return text.strip() if isinstance(text, str) else text


def lower(text: object) -> object:
    """Text in lower case."""
    return text.strip().lower() if isinstance(text, str) else text


def upper(text: object) -> object:
    """Text in upper case."""
    return text.strip().upper() if isinstance(text, str) else text


def split(value: object) -> object:
    """The parts of a text between commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def path(value: object) -> object:
    """A path, with a `~` at its beginning as the home directory that it stands for."""
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip() or "\0" in str(value):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:
        # There is no such user, or none with a home.
        raise ValueError from None


def host(text: str) -> str:
    """A host name or address to listen on."""
    if not text or not text.isprintable() or any(c in text for c in " /@[]"):
        raise ValueError
    return text


def origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as a browser sends them, each once."""
    return tuple(dict.fromkeys(_origin(part) for part in value))


def host_patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts as a `Host` header names them without a port, or `*.` before one; each once."""
    return tuple(dict.fromkeys(_host_pattern(part.lower()) for part in value))


def _origin(text: str) -> str:
    """The origin as a browser sends it: lower case, no default port, nothing after it."""
    if text == "*":
        return text
    parts = urlsplit(text)
    name = parts.hostname
    if parts.scheme not in _DEFAULT_PORTS or not name or not text.isascii() or " " in text:
        raise ValueError
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError
    if ":" in name:
        name = f"[{name}]"
    port = parts.port
    suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{name}{suffix}"


def _host_pattern(text: str) -> str:
    if not _NAME.fullmatch(text.removeprefix("*.")) and not _IPV6.fullmatch(text):
        raise ValueError
    return text
