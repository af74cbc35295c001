"""The messages of streams, in the form of FastAPI's Server-Sent Events."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from backend.services.feeds import Entry

PIECE_BYTES = 16 * 1024
"""Messages are written together up to this size."""


class Piece(NamedTuple):
    """Messages that are written together."""

    plain: bytes
    chunked: bytes
    """The same as a chunk of HTTP/1.1, made once for all clients."""
    entries: int = 0
    """How many of the messages are entries."""

    @classmethod
    def of(cls, plain: bytes, entries: int = 0) -> "Piece":
        """The piece with these bytes."""
        return cls(plain, b"%x\r\n%b\r\n" % (len(plain), plain), entries)


COMMENT = Piece.of(KEEPALIVE_COMMENT)
"""Keeps the connection open, and shows whether the client is still there."""


def id_text(epoch: int, id: int) -> str:
    """The id of a message, which a client sends back to go on after it."""
    return f"{epoch}-{id}"


def entry_message(epoch: int, entry: Entry) -> bytes:
    """The message of an entry, which has no name, so that `onmessage` gets it."""
    return format_sse_event(data_str=entry.json(), id=id_text(epoch, entry.id))


def beginning(epoch: int, after_id: int, last_id: int, reset: str | None) -> Piece:
    """The first messages of a stream that goes on after the id `after_id`. With `reset`, the client
    has missed something, for this reason."""
    told = b""
    if reset is not None:
        told = format_sse_event(event="reset", data_str=f'{{"reason":"{reset}"}}')
    ready = format_sse_event(
        event="ready",
        data_str=f'{{"last_id":{last_id},"epoch":{epoch}}}',
        # A client that is cut off before the first entry goes on from here.
        id=id_text(epoch, after_id),
    )
    return Piece.of(told + ready)


def farewell(retry_ms: int) -> Piece:
    """The last message of a stream that the server ends: when to come back, in milliseconds."""
    return Piece.of(format_sse_event(retry=retry_ms))


def pieces(epoch: int, entries: Iterable[Entry]) -> Iterator[Piece]:
    """The messages of these entries, in pieces of about `PIECE_BYTES`."""
    return joined(entry_message(epoch, entry) for entry in entries)


def joined(messages: Iterable[bytes]) -> Iterator[Piece]:
    """Messages of entries in pieces of about `PIECE_BYTES`."""
    some: list[bytes] = []
    size = 0
    for message in messages:
        if some and size + len(message) > PIECE_BYTES:
            yield Piece.of(b"".join(some), len(some))
            some, size = [], 0
        some.append(message)
        size += len(message)
    if some:
        yield Piece.of(b"".join(some), len(some))
