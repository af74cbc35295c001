"""All requests of an application that wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import replace
from typing import Any, Final

from backend.http.waiting.claim_line import Claimer, ClaimLine
from backend.http.waiting.concerns import Concern, places_of
from backend.http.waiting.questions import Ask, Question, Reader
from backend.http.waiting.waiter import Ending, Waiter
from backend.observability.log import get_logger
from backend.services.commits import Recorded, Told, Unrecorded
from backend.services.database_service import DatabaseService
from backend.services.kinds import Kind
from database.errors import DatabaseError

logger = get_logger("strongroom.waits")

LOOK_SECONDS: Final = 0.25
"""How often tokens are looked at that may have expired."""
LINGER_SECONDS: Final = 1.0
"""How long a question is remembered without readers."""
_ENDS_TOKENS: Final = frozenset({Kind.TOKEN_REVOKED, Kind.SESSION_ENDED, Kind.SESSION_EXPIRED})
_MOST_OF_CONNECTIONS: Final = 0.75
"""The share of the connections that streams and waiting requests may take together."""


class Waits:
    """The requests that wait: it hears of commits for them, and ends the waits of tokens that have
    ended. Belongs to the event loop's thread."""

    def __init__(self, streams: Callable[[], int]) -> None:
        """`streams` tells how many connections streams have."""
        self.line = ClaimLine()
        self.ended: Counter[str] = Counter()
        """Waits that are over, by `Ending`."""
        self.asked: Counter[str] = Counter()
        """How often the database was asked: for a read that came (`arrivals`), and because of a
        change (`reads` and `claims`)."""
        self._limit: int | None = None
        self._streams = streams
        self._waiters: dict[Waiter, None] = {}
        self._questions: dict[Hashable, Question] = {}
        self._places: dict[str, dict[int, dict[Question, None]]] = {}
        """The questions about one thing, by the name and the id in their path."""
        self._wide: dict[Question, None] = {}
        """The other questions."""
        self._service: DatabaseService | None = None
        self._looking: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._checked = -1
        """The generation of tokens for which all waiters were checked."""
        self._must_check = False
        """Whether a token or a session has ended since."""
        self._is_stopping = False

    def fit(self, connections: int) -> None:
        """Leave a part of the server's connections to other requests."""
        self._limit = int(connections * _MOST_OF_CONNECTIONS)

    def successor(self, streams: Callable[[], int]) -> "Waits":
        """The requests that wait for another store, with the same limit, when these end."""
        other = Waits(streams)
        other._limit = self._limit
        return other

    @property
    def may_wait(self) -> bool:
        """Whether one more request may wait. If not, it is answered at once."""
        if self._is_stopping:
            return False
        return self._limit is None or len(self._waiters) + self._streams() < self._limit

    def make_room(self) -> None:
        """A stream is about to open: if connections are scarce, the request that came last waits no
        longer."""
        if self._limit is not None and len(self._waiters) + self._streams() >= self._limit:
            for waiter in reversed(self._waiters):
                if waiter.ended is None:
                    waiter.wake(Ending.SHARE)
                    return

    def open(self) -> dict[str, int]:
        """The number of requests that wait: `reads` and `claims`."""
        waiting = [waiter for waiter in tuple(self._waiters) if waiter.is_waiting]
        claims = sum(isinstance(waiter, Claimer) for waiter in waiting)
        return {"reads": len(waiting) - claims, "claims": claims}

    @asynccontextmanager
    async def entered(self, waiter: Waiter, service: DatabaseService) -> AsyncIterator[None]:
        """Hear of changes for a request in the block, and end its wait when it has to end."""
        if self._service is None:
            self._begin(service)
        if not self._waiters:
            self._checked = waiter.principal.generation
        elif waiter.principal.generation < self._checked:
            # Its token may have ended since it was checked.
            self._checked = -1
        self._waiters[waiter] = None
        ending = Ending.FAILED
        try:
            async with waiter.watched():
                yield
            ending = waiter.ended or Ending.NEWS
        finally:
            self.ended[waiter.ended or ending] += 1
            del self._waiters[waiter]
            self._finish_if_idle()

    @asynccontextmanager
    async def asking(
        self, reader: Reader, key: Hashable, ask: Ask, concern: Concern
    ) -> AsyncIterator[Question]:
        """The question of a reader, in the block. Readers with the same key ask the same."""
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = Question(ask, concern, self._prepare_to_ask)
            self._put(question)
        question.readers[reader] = None
        try:
            yield question
        finally:
            del question.readers[reader]
            if not question.readers:
                # Who got news asks again at once, and need not ask the database.
                linger = 0.0 if self._is_stopping else LINGER_SECONDS
                loop = asyncio.get_running_loop()
                loop.call_later(linger, self._forget, key, question)

    def _forget(self, key: Hashable, question: Question) -> None:
        if not question.readers and self._questions.get(key) is question:
            del self._questions[key]
            self._take_out(question)
            self._finish_if_idle()

    def stop(self) -> None:
        """Let all requests be answered at once, and those that come."""
        self._is_stopping = True
        for key, question in list(self._questions.items()):
            self._forget(key, question)
        for waiter in list(self._waiters):
            waiter.wake(Ending.SHUTDOWN)

    def _begin(self, service: DatabaseService) -> None:
        loop = asyncio.get_running_loop()

        def hear(told: Told) -> None:
            # On the thread that commits.
            loop.call_soon_threadsafe(self._note, told)

        self._service = service
        service.commits.listen(hear)
        self._looking = loop.create_task(self._look(), name="strongroom-waits", context=Context())

    def _finish_if_idle(self) -> None:
        if self._waiters or self._questions or self._service is None:
            return
        self._service.commits.listen(None)
        self._service = None
        for task in (self._looking, self._checking):
            if task is not None:
                task.cancel()
        self._looking = self._checking = None

    def _put(self, question: Question) -> None:
        place = question.concern.place
        if place is None:
            self._wide[question] = None
        else:
            name, id = place
            self._places.setdefault(name, {}).setdefault(id, {})[question] = None

    def _take_out(self, question: Question) -> None:
        place = question.concern.place
        if place is None:
            del self._wide[question]
            return
        name, id = place
        questions = self._places[name][id]
        del questions[question]
        if not questions:
            del self._places[name][id]

    def _note(self, told: Told) -> None:
        service = self._service
        if service is None:
            return
        changes = service.commits.changes(told)
        if isinstance(changes, Unrecorded):
            for question in list(self._questions.values()):
                if changes in question.concern.unrecorded:
                    question.hear()
            return
        concerned: dict[Question, None] = {}
        for change in changes:
            self.line.hear(change)
            for question in self._candidates(change):
                if question.concern.is_touched(change):
                    concerned[question] = None
        for question in concerned:
            question.hear()
        if any(change.kind in _ENDS_TOKENS for change in changes):
            self._check_soon()

    def _check_soon(self) -> None:
        self._must_check = True
        if self._checking is None:
            self._checking = asyncio.get_running_loop().create_task(
                self._check(), name="strongroom-waits-tokens", context=Context()
            )

    def _candidates(self, change: Recorded) -> Sequence[Question]:
        found = list(self._wide)
        for name, id in places_of(change):
            by_id = self._places.get(name)
            if by_id:
                some: Sequence[dict[Question, Any]] = (
                    list(by_id.values()) if id is None else [by_id.get(id, {})]
                )
                found += [question for questions in some for question in questions]
        return found

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._prepare()

    async def _check(self) -> None:
        try:
            while self._must_check:
                await self._prepare()
        finally:
            self._checking = None

    async def _prepare(self) -> None:
        """End the waits whose token has expired or was revoked."""
        try:
            await self._end_of_tokens()
        except DatabaseError as error:
            logger.warning("tokens of waiting requests can't be checked", cause=str(error))

    async def _prepare_to_ask(self) -> None:
        self.asked["reads"] += 1
        await self._prepare()

    async def _end_of_tokens(self) -> None:
        service = self._service
        if service is None:
            return
        now = service.clock()
        for waiter in list(self._waiters):
            expires_at = waiter.principal.expires_at
            if expires_at is not None and now >= expires_at:
                waiter.wake(Ending.TOKEN)
        tokens = service.tokens
        generation = tokens.generation
        if generation == self._checked and not self._must_check:
            return
        self._must_check = False
        waiters = list(self._waiters)
        principals = {waiter.principal for waiter in waiters}
        ended = await tokens.ended_among(principals)
        checked = {one: replace(one, generation=generation) for one in principals - ended}
        for waiter in waiters:
            if waiter.principal in ended:
                waiter.wake(Ending.TOKEN)
            else:
                # Not checked again, for each of them, before its answer is sent.
                waiter.principal = checked[waiter.principal]
        # Those that have come meanwhile may have been looked up before.
        is_older = any(waiter.principal.generation < generation for waiter in self._waiters)
        self._checked = -1 if is_older else generation
