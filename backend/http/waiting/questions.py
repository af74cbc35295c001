"""Questions: what several requests ask that wait for another answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backend.errors import Unauthenticated
from backend.http.entity_tags import etag_of, headers_of_304, is_known, is_tag_known
from backend.http.exchange import GZIP_FROM_BYTES, VARIES, takes_gzip
from backend.http.kept_answers import RawHeaders
from backend.http.request_head import Headers
from backend.http.waiting.concerns import Concern
from backend.http.waiting.waiter import Waiter
from backend.services.principal import Principal

Ask = Callable[[Request, Principal], Awaitable[Response]]
"""Makes the present answer to a request of this principal."""

BETWEEN_SECONDS: Final = 1 / 9
"""The time between two askings of a question on average. One may come earlier, so that a change
that soon follows another is told at once: so there are ten in a second at most."""
IN_A_TURN: Final = 32
"""How many waiters are woken in one turn of the event loop."""


class Told(NamedTuple):
    """What is remembered of an answer, without its body, which may be large."""

    headers: RawHeaders
    """The headers of the answer 304 that stands for it."""
    varies: bool
    """Whether it is so large that clients which accept gzip get it compressed."""

    @classmethod
    def of(cls, answer: Response) -> "Told":
        """What is remembered of this answer."""
        return cls(headers_of_304(answer.raw_headers), len(answer.body) >= GZIP_FROM_BYTES)

    def not_modified(self, headers: Headers) -> Response:
        """The answer 304 to a request with these headers."""
        answer = Response(status_code=304)
        answer.raw_headers = list(self.headers)
        accepted = headers.get(b"accept-encoding")
        if self.varies and accepted is not None and takes_gzip(accepted):
            answer.raw_headers.append(VARIES)
        return answer


def is_news(answer: Response, if_none_match: bytes) -> bool:
    """Whether a client that sends this `If-None-Match` does not have this answer yet. Raises
    `BadRequest`."""
    tag = etag_of(answer.raw_headers) if answer.status_code == 200 else None
    return tag is None or not is_known(if_none_match, tag)


class Reader(Waiter):
    """A `GET` that waits for another answer than the one that the client has."""

    def __init__(
        self, request: Request, principal: Principal, seconds: int, if_none_match: bytes
    ) -> None:
        super().__init__(request, principal, seconds)
        self.if_none_match = if_none_match


class Question:
    """What several readers ask. It is asked once for all of them, after a change that may concern
    the answer. Belongs to the event loop's thread."""

    def __init__(self, ask: Ask, concern: Concern, prepare: Callable[[], Awaitable[None]]) -> None:
        """`prepare` is awaited before each asking, and ends the waits of tokens that have ended."""
        self.concern = concern
        self.heard = 0
        """The number of changes that may concern it."""
        self.readers: dict[Reader, None] = {}
        self._ask = ask
        self._prepare = prepare
        self._told: Told | None = None
        """The last answer, if it is known."""
        self._told_after = -1
        """The number of changes that it shows."""
        self._known = 0
        """The number of changes that the last answer shows."""
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def hear(self) -> None:
        """Something has changed that may concern the answer."""
        self.heard += 1
        self._wake()

    def is_behind(self, heard: int) -> bool:
        """Whether something has changed since this many changes."""
        return self.heard != heard

    def present(self, if_none_match: bytes) -> Told | None:
        """The present answer, if it is known, and known to a client that sends this
        `If-None-Match`. Raises `BadRequest`."""
        told = self._told
        if told is None or self.is_behind(self._told_after):
            return None
        return told if is_tag_known(if_none_match, told.headers) else None

    def learn(self, told: Told | None, heard: int) -> None:
        """The answer after this many changes is this one, or none that can be compared."""
        if heard >= self._told_after:
            self._told, self._told_after = told, heard

    def expect(self, heard: int) -> None:
        """A reader is about to wait that knows the answer after this many changes."""
        if self.is_behind(heard):
            self._known = min(self._known, heard)
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        if self._task is None and self._first() is not None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="strongroom-question", context=Context()
            )

    def _first(self) -> Reader | None:
        return next((reader for reader in self.readers if reader.is_waiting), None)

    async def _run(self) -> None:
        try:
            while self._known != self.heard and self._first() is not None:
                await self._take_turn()
                await self._prepare()
                await self._ask_for_all()
        finally:
            self._task = None

    async def _take_turn(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._due - BETWEEN_SECONDS - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._due = max(self._due, loop.time()) + BETWEEN_SECONDS

    async def _ask_for_all(self) -> None:
        first = self._first()
        if first is None:
            return
        # Readers that come meanwhile know a later answer.
        waiting = [reader for reader in self.readers if reader.is_waiting]
        heard = self.heard
        loop = asyncio.get_running_loop()
        asking = self._ask_as(first)
        try:
            answer = await loop.create_task(asking, context=first.context)
        except (Unauthenticated, ClientDisconnect) as error:
            # The first one's own matter: the next one asks.
            first.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - it is the answer, to each of them
            self._known = heard
            self.learn(None, heard)
            for reader in waiting:
                reader.fail(error)
            return
        self._known = heard
        has_tag = answer.status_code == 200 and etag_of(answer.raw_headers) is not None
        self.learn(Told.of(answer) if has_tag else None, heard)
        for number, reader in enumerate(waiting, 1):
            if is_news(answer, reader.if_none_match):
                reader.wake(answer)
                if not number % IN_A_TURN:
                    await asyncio.sleep(0)

    async def _ask_as(self, reader: Reader) -> Response:
        return await self._ask(reader.request, reader.principal)
