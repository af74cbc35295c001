"""A port belongs to one program: the second one is refused, whatever the first one is and whenever
it came."""

import socket
import threading
from contextlib import ExitStack, closing

import pytest

from backend.cli.failures import CommandFailed
from backend.cli.listening import PortInUse, open_sockets, url_of

HOSTS = ["127.0.0.1", "::1", "localhost", "0.0.0.0"]  # noqa: S104 - it must be refused there too


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _open(stack: ExitStack, host: str, port: int) -> int:
    """Open the sockets until the test ends, and return their port."""
    sockets = open_sockets(host, port)
    stack.callback(_close, sockets)
    return int(sockets[0].getsockname()[1])


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_that_is_listened_on_is_in_use(host: str) -> None:
    with ExitStack() as stack:
        port = _open(stack, host, 0)
        with pytest.raises(PortInUse, match=f"port {port} of {host} is in use: stop the program"):
            open_sockets(host, port)


def test_of_many_that_begin_at_once_one_has_the_port() -> None:
    with ExitStack() as stack:
        free = _open(stack, "127.0.0.1", 0)
    for _ in range(20):
        begin = threading.Barrier(4)
        won: list[list[socket.socket]] = []
        lost: list[str] = []

        def start(begin: threading.Barrier = begin) -> None:
            begin.wait()
            try:
                won.append(open_sockets("127.0.0.1", free))  # noqa: B023
            except PortInUse as error:
                lost.append(str(error))  # noqa: B023

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for sockets in won:
            _close(sockets)
        assert (len(won), len(lost)) == (1, 3)


@pytest.mark.parametrize("option", ["SO_REUSEADDR", "SO_REUSEPORT"])
def test_a_program_that_would_share_it_does_not_share_it_with_us(option: str) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUse):
            open_sockets("127.0.0.1", other.getsockname()[1])


def test_a_client_that_connects_before_the_service_is_ready_waits() -> None:
    with ExitStack() as stack:
        port = _open(stack, "127.0.0.1", 0)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
            client.settimeout(0)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def test_a_free_port_is_free_at_every_address() -> None:
    with ExitStack() as stack:
        for _ in range(20):
            sockets = open_sockets("localhost", 0)
            stack.callback(_close, sockets)
            assert len({one.getsockname()[1] for one in sockets}) == 1
            assert url_of("localhost", sockets).startswith("http://localhost:")


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("192.0.2.1", "is not an address of this machine"),
        ("2001:db8::1", "is not an address of this machine"),
        ("no.such.invalid", "can't be resolved"),
        ("x" * 64, "can't be resolved"),
        ("a..b", "can't be resolved"),
    ],
)
def test_a_host_of_others_is_told(host: str, told: str) -> None:
    with pytest.raises(CommandFailed, match=told):
        open_sockets(host, 0)
