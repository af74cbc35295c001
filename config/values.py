"""Converts the text of a setting to its value. Functions raise `ValueError` for invalid text."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{0,5}))?/?", re.IGNORECASE | re.ASCII
)
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_MOST_PATH_BYTES, _MOST_NAME_BYTES = 4096, 255
_MOST_HOST_CHARACTERS = 253
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]")


def clean(text: object) -> object:
    """Text without surrounding whitespace. Values that are not text are unchanged, as below."""
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
    """A path, with `~` at the beginning replaced by the home directory."""
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip() or not can_be_path(str(value)):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:
        # The user does not exist, or has no home directory.
        raise ValueError from None


def can_be_path(text: str) -> bool:
    """Whether a file system could have a file with this path."""
    name = text.encode(errors="surrogatepass")
    return (
        "\0" not in text
        and len(name) < _MOST_PATH_BYTES
        and max(map(len, name.split(b"/"))) <= _MOST_NAME_BYTES
    )


def host(text: str) -> str:
    """A host name or address to listen on."""
    if (
        not text
        or len(text) > _MOST_HOST_CHARACTERS
        or not text.isprintable()
        or any(c in text for c in " /@[]")
    ):
        raise ValueError
    return text


def origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as a browser sends them, each once."""
    return tuple(dict.fromkeys(part if part == "*" else _origin(part) for part in value))


def public_url(text: str | None) -> str | None:
    """The origin under which browsers see the service, as they send it."""
    return None if text is None else _origin(text)


def networks(
    value: tuple[IPv4Network | IPv6Network, ...],
) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks, each once. IPv4-mapped IPv6 networks become IPv4 networks."""
    return tuple(dict.fromkeys(_network(part) for part in value))


def host_patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts as in a `Host` header but without a port, or with `*.` in front; each once."""
    return tuple(dict.fromkeys(_host_pattern(part.lower()) for part in value))


def _origin(text: str) -> str:
    """The origin as a browser sends it: in lower case, without a default port or a path.

    Raises `ValueError` for an origin that no browser sends, because it would never match.
    """
    parts = _ORIGIN.fullmatch(text)
    if parts is None:
        raise ValueError
    scheme, name = parts[1].lower(), parts[2].lower()
    port = int(parts[3] or _DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        raise ValueError
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{_host_as_sent(name)}{suffix}"


def _host_as_sent(name: str) -> str:
    """A host as a browser writes it in an origin or a `Host` header."""
    if name.startswith("["):
        return f"[{_ipv6_as_sent(IPv6Address(name[1:-1]))}]"
    if not _HOST_NAME.fullmatch(name) or len(name) > 253:
        raise ValueError
    # A browser takes such a name for an address, and writes an address in only one form.
    if _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]) and (
        str(IPv4Address(name)) != name
    ):
        raise ValueError
    return name


def _ipv6_as_sent(address: IPv6Address) -> str:
    if address.ipv4_mapped is None:
        return address.compressed
    # Python versions write these addresses differently; browsers do not.
    high, low = divmod(int(address.ipv4_mapped), 0x10000)
    return f"::ffff:{high:x}:{low:x}"


def _network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.network_address.scope_id is not None:
        raise ValueError
    if isinstance(network, IPv4Network) or network.network_address.ipv4_mapped is None:
        return network
    return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))


def _host_pattern(text: str) -> str:
    if _IPV6.fullmatch(text):
        return _host_as_sent(text)
    if not _NAME.fullmatch(text.removeprefix("*.")):
        raise ValueError
    return text
