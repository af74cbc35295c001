"""Opens the listening sockets of the service before anything else starts."""

import errno
import socket
from contextlib import ExitStack
from ipaddress import ip_address

from backend.cli.failures import CommandFailed

ATTEMPTS = 20
BACKLOG = 2048
"""The number of connections that may wait to be accepted; the same as uvicorn's default."""


class PortInUse(CommandFailed):
    """Another program listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} of {host} is in use: stop the program that uses it, or choose another "
            "port with --port"
        )


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`; port 0 takes one free port for all of them.

    The sockets listen at once, so that a second process that wants the port fails before it has
    done anything: the event loop's server does not report that it can't listen. Clients that
    connect now wait until the service runs. Raises `PortInUse`, and `CommandFailed` when the host
    or the port can't be used.
    """
    for _ in range(ATTEMPTS if port == 0 else 1):
        try:
            return _open_sockets(host, port)
        except PortInUse:
            # The port was free on one address but not on another.
            continue
    raise PortInUse(host, port)


def _open_sockets(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise CommandFailed(
            f"the host {host} can't be resolved: choose an address of this machine with --host"
        ) from None
    sockets: list[socket.socket] = []
    failure = OSError(errno.EADDRNOTAVAIL, "no address")
    with ExitStack() as opened:
        for family, address in dict.fromkeys((item[0], item[4][0]) for item in found):
            try:
                taken = sockets[0].getsockname()[1] if sockets else port
                sockets.append(opened.enter_context(_listen(family, str(address), taken)))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise _refusal(error, host, port) from None
                # A name such as localhost may have addresses of a disabled IP version.
                failure = error
        if not sockets:
            raise _refusal(failure, host, port)
        opened.pop_all()
    return sockets


def url_of(host: str, sockets: list[socket.socket]) -> str:
    """The URL under which a client on this machine reaches the sockets of `host`."""
    port = sockets[0].getsockname()[1]
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{address}:{port}" if address.version == 4 else f"http://[{address}]:{port}"


_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _listen(family: int, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Otherwise a restart would fail until the system forgets the old connections.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        # Two processes may bind the same port, but only one of them can listen.
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def _refusal(error: OSError, host: str, port: int) -> CommandFailed:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(host, port)
    if error.errno == errno.EACCES:
        return CommandFailed(
            f"this user may not listen on port {port}: choose a port above 1023 with --port"
        )
    if error.errno in _NO_SUCH_ADDRESS:
        return CommandFailed(
            f"{host} is not an address of this machine: choose one that is with --host"
        )
    return CommandFailed(f"{host} port {port} can't be opened: {error.strerror}")
