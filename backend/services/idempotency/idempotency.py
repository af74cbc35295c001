"""Answers each request with an idempotency key once, and repeats that answer afterwards.

A request with a key is one unit of work: the look-up of its stored answer, the whole call of its
endpoint, whose own units join it, and the storing of the answer. So the answer is stored with the
effect or not at all, and the unique index decides if two processes try at once.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from backend.errors import (
    ChangedOutside,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    SecretUnreadable,
    Unauthenticated,
)
from backend.repositories import Repositories
from backend.repositories.stored_answer_repository import PROJECT_OF, NewAnswer
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.enclosing import Enclosure, StepFirst, enclosure
from backend.services.idempotency.answer_sealing import (
    Answer,
    AnswerSealing,
    Rights,
    SealedAnswer,
    rights_of,
)
from backend.services.idempotency.calls_together import BegunCall, begin, finish_together
from backend.services.principal import ADMIN, Principal, current_principal
from backend.services.recording import concerned_projects
from database.base import time_text
from database.engine import ALONE, Call
from database.errors import DatabaseError, UniqueViolation

KEPT_FOR: Final = timedelta(hours=24)
"""How long a stored answer is repeated."""
PATIENCE_SECONDS: Final = 10.0
"""How long a request waits for another one with its key."""
MAX_KEY_LENGTH: Final = 255
_MAC_BYTES: Final = 16
"""Enough against chance, and only this service can make the MACs. Their index is written in no
order, so a smaller one costs less."""

logger = logging.getLogger("strongroom.idempotency")

MakeAnswer = Callable[[], Awaitable[Answer]]
"""Calls the endpoint. In a unit of work it may be called again."""


class Request(NamedTuple):
    """A request with an idempotency key."""

    key_mac: bytes
    """The result of `Idempotency.key_mac`, under which its answer is stored."""
    hash: bytes
    """The hash of what must be the same in a repetition."""
    route: str
    """Its method and path template."""
    scope: str
    """The scope that the route needs."""
    names: Mapping[str, Any]
    """The names in its path, such as `run_id`, with their values."""

    def __repr__(self) -> str:
        return f"Request(route={self.route!r})"


def request_hash(method: bytes, path: bytes, query: bytes, media_type: bytes, body: bytes) -> bytes:
    """The hash of what must be the same in a repetition of a request."""
    return hashlib.sha256(
        b"%d:%b%d:%b%d:%b%d:%b"
        % (len(method), method, len(path), path, len(query), query, len(media_type), media_type)
        + body
    ).digest()


class Idempotency(UseCases):
    """Making, storing and repeating answers."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.sealing = AnswerSealing(kit.vault)
        # Copied for each request, because `hmac.digest` would let another thread run each time.
        self._keyed = hmac.new(kit.keys.idempotency, digestmod=hashlib.sha256)
        self.replays = 0
        """The number of answers that were repeated since the start."""
        self._running: dict[bytes, asyncio.Future[None] | None] = {}
        """The running requests by the MAC of their key, with a future if others wait for one."""

    @property
    def running(self) -> int:
        """The number of requests with a key that are running in this process."""
        return len(self._running)

    def key_mac(self, token_id: int | None, key: bytes) -> bytes:
        """A keyed hash of the key and of the token, if there is one."""
        owner = b"-" if token_id is None else b"%d" % token_id
        mac = self._keyed.copy()
        mac.update(b"%b:%b" % (owner, key))
        return mac.digest()[:_MAC_BYTES]

    def begin(self, request: Request) -> bool:
        """Note that the request runs, until `end`. Returns False, and notes nothing, when another
        one with its key is running in this process."""
        if request.key_mac in self._running:
            return False
        self._running[request.key_mac] = None
        return True

    async def begin_after_others(self, request: Request) -> None:
        """The same once no other request with its key is running. Raises `IdempotencyInProgress`
        after `PATIENCE_SECONDS`."""
        running, key_mac = self._running, request.key_mac
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self.begin(request):
                    ended = running[key_mac]
                    if ended is None:
                        ended = running[key_mac] = asyncio.get_running_loop().create_future()
                    await asyncio.shield(ended)
        except TimeoutError:
            raise IdempotencyInProgress from None

    def end(self, request: Request) -> None:
        """The request has ended, and one of those that wait for it may begin."""
        ended = self._running.pop(request.key_mac)
        if ended is not None:
            ended.set_result(None)

    async def answer(self, request: Request, make: MakeAnswer) -> Answer | None:
        """The stored answer to the request; `None` if there was none, and `make` was called in a
        unit of work, which has stored its answer.

        Raises what `make` raises, and then nothing is stored; `IdempotencyKeyReused` when the key
        was used for another request; `Forbidden` when the token may do less than at that time;
        `ChangedOutside` when the stored answer can't be read.
        """
        around = Enclosure(self.clock())
        entered = enclosure.set(around)
        was_taken = False
        try:
            while True:
                try:
                    replayed = await self._answer(request, make)
                except StepFirst as first:
                    if around.has_stepped:
                        raise
                    await first.step()
                    around.has_stepped = True
                except _Taken:
                    # Another process was faster, and its answer is there now.
                    if was_taken:
                        raise IdempotencyInProgress from None
                    was_taken = True
                else:
                    self.replays += replayed is not None
                    return replayed
        except DatabaseError:
            if around.on_failure is not None:
                around.on_failure()
            raise
        finally:
            enclosure.reset(entered)

    @unit_of_work(together="_answer_together", kind=lambda request, _: ("keyed", request.route))
    async def _answer(self, request: Request, make: MakeAnswer) -> Answer | None:
        async with self.transaction() as repositories:
            replayed = await self._stored(repositories, request)
            if replayed is not None:
                return replayed
            concerned: set[int] = set()
            entered = concerned_projects.set(concerned)
            try:
                answer = await make()
            finally:
                concerned_projects.reset(entered)
            await self._store(
                repositories, [_Made(request, current_principal(), answer, concerned)]
            )
        return None

    async def _answer_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `_answer` at once, whose answers are not stored yet, and whose
        endpoints run as one."""
        outcomes: list[Any] = [ALONE] * len(calls)
        begun: list[BegunCall] = []
        async with self.transaction() as repositories:
            try:
                for place in await self._new(repositories, calls):
                    one = begin(place, calls[place].context, calls[place].arguments[1])
                    if one is not None:
                        begun.append(one)
                done = await finish_together(begun)
            finally:
                for one in begun:
                    one.close()
            made = []
            for one in done:
                call = calls[one.place]
                principal = call.context.run(current_principal)
                made.append(_Made(call.arguments[0], principal, one.answer, one.concerned))
                outcomes[one.place] = None
            await self._store(repositories, made)
        return outcomes

    async def _new(self, repositories: Repositories, calls: Sequence[Call]) -> list[int]:
        """The places of those calls whose key is neither stored nor that of a call before."""
        first: dict[bytes, int] = {}
        for place, call in enumerate(calls):
            first.setdefault(call.arguments[0].key_mac, place)
        stored = await repositories.answers.stored_macs(list(first))
        return [place for key_mac, place in first.items() if key_mac not in stored]

    async def answer_afterwards(self, request: Request, make: MakeAnswer) -> Answer | None:
        """The same for an endpoint whose effect is not one transaction: its answer is stored right
        after it was made. If the process ends in between, nothing is stored."""
        replayed = await self._look_up(request)
        if replayed is None:
            answer = await make()
            try:
                await self._store_afterwards(request, answer)
            except (DatabaseError, Unauthenticated) as error:
                # The effect remains, so this must not become an error.
                logger.warning("an answer could not be stored: %s", error)
        self.replays += replayed is not None
        return replayed

    @unit_of_work
    async def _look_up(self, request: Request) -> Answer | None:
        async with self.transaction() as repositories:
            return await self._stored(repositories, request)

    @unit_of_work
    async def _store_afterwards(self, request: Request, answer: Answer) -> None:
        async with self.transaction() as repositories:
            await self._store(repositories, [_Made(request, current_principal(), answer, set())])

    async def _stored(self, repositories: Repositories, request: Request) -> Answer | None:
        """The stored answer, if it may be repeated. One that is too old is removed."""
        stored = await repositories.answers.find(request.key_mac)
        if stored is None:
            return None
        if stored.created_at <= time_text(self.clock() - KEPT_FOR):
            await repositories.answers.remove([stored.id])
            return None
        try:
            opened = self.sealing.open(stored)
        except SecretUnreadable:
            raise ChangedOutside(
                "stored answer", "find out whether the request had its effect, and use a new key"
            ) from None
        if not hmac.compare_digest(opened.request, request.hash):
            raise IdempotencyKeyReused
        if not _may_still(current_principal(), opened.rights):
            raise Forbidden(request.scope, "the token may do less than when it sent the request")
        return opened.answer

    async def _store(self, repositories: Repositories, made: "Sequence[_Made]") -> None:
        """Store those of the answers that are kept. Raises `_Taken`."""
        kept = [one for one in made if _is_kept(one.answer)]
        if not kept:
            return
        key = await self.sealing.current_key(repositories)
        now = time_text(self.clock())
        answers: list[NewAnswer] = []
        for request, principal, answer, concerned in kept:
            rights = rights_of(principal.scopes, principal.project_ids)
            content = SealedAnswer(answer, request.hash, rights)
            sealed = self.sealing.seal(key, request.key_mac, now, content)
            projects = sorted(concerned) or await _projects_of(repositories, request)
            answers.append(NewAnswer(request.key_mac, sealed, projects))
        try:
            await repositories.answers.add(key, answers, now)
        except UniqueViolation:
            raise _Taken from None


class _Made(NamedTuple):
    """An answer that was made."""

    request: Request
    principal: Principal
    answer: Answer
    concerned: set[int]
    """The projects of what was changed."""


class _Taken(Exception):
    """Another process has stored an answer under the same key."""


async def _projects_of(repositories: Repositories, request: Request) -> list[int]:
    """The projects of the names in the request's path, for an answer that changed nothing."""
    found = [
        await repositories.answers.project_of(name, int(value))
        for name, value in request.names.items()
        # The key of a secret stands behind its project.
        if name in PROJECT_OF
    ]
    return sorted({project_id for project_id in found if project_id is not None})


def _is_kept(answer: Answer) -> bool:
    """Whether it is a success that says something: a claim without a run may be made again."""
    return 200 <= answer.status < 300 and answer.status != 204


def _may_still(principal: Principal, rights: Rights) -> bool:
    """Whether the principal may do all that it might when the answer was stored."""
    if ADMIN not in principal.scopes and not principal.scopes.issuperset(rights.scopes):
        return False
    if principal.project_ids is None:
        return True
    return rights.project_ids is not None and principal.project_ids.issuperset(rights.project_ids)
