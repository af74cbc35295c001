"""The short way of a request whose answer is kept.

Everything that the ordinary way does is done here too. A request that needs more, such as the
look-up of a token, a refusal or a wait, takes the ordinary way, which then gives the same answer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Scope, Send

from backend.errors import BadRequest
from backend.http.accesses import Accesses
from backend.http.authentication import count_request, known_sender
from backend.http.entity_tags import IF_MATCH, IF_NONE_MATCH, is_known
from backend.http.exchange import request_id, takes_gzip
from backend.http.kept_answers import Audiences, KeptAnswer, RawHeaders, header_lines, url_of
from backend.http.kept_turns import KeptTurns
from backend.http.request_head import Headers, are_plain, read_head
from backend.http.state import AppState
from backend.http.waiting.preference import PREFER
from backend.http.whole_requests import AnswerLines
from backend.observability.log import Access, log_access
from backend.services.principal import Principal

KEPT_METHODS = frozenset({"GET", "HEAD"})
"""The methods of requests whose answers are kept."""

_TURN = 64
"""Answers after which other tasks run."""

Admits = Callable[[Scope, Headers], bool]
"""Whether the edge lets a request with these headers through."""


class Waits(NamedTuple):
    """A kept answer that waits for a turn of its client."""

    client: int | str


class KeptPath:
    """Sends kept answers. Belongs to the event loop's thread."""

    def __init__(self, state: AppState, admits: Admits, accesses: Accesses) -> None:
        self._state = state
        self._accesses = accesses
        self._kept = state.kept
        self._admits = admits
        self._turns = KeptTurns(at_end=self._settle)
        self._lines = AnswerLines()
        self._users: set[int] = set()
        """The tokens that got answers in this turn."""
        self.answered = 0
        """How many requests got a kept answer."""

    async def answer(self, scope: Scope, send: Send) -> bool:
        """Send the kept answer to a request with one of `KEPT_METHODS`. Returns False if the
        request must take the ordinary way."""
        began = time.perf_counter()
        found = self._find(scope)
        if found is None:
            return False
        client = _client(scope, found[2])
        if not self._turns.take(client, asyncio.get_running_loop()):
            await self._turns.wait(client)
            found = self._find(scope)
        if found is None or not count_request(self._state, found[2]):
            return False
        headers, answer, _ = found
        id = request_id(headers.get(b"x-request-id"))
        sent = [
            *answer.headers,
            (b"x-request-id", id.encode()),
            *self._cross_origin(headers),
            *answer.last_headers,
        ]
        try:
            start = {"type": "http.response.start", "status": answer.status, "headers": sent}
            await send(start)
            await send({"type": "http.response.body", "body": answer.body})
        finally:
            self.answered += 1
            method, seconds = scope["method"], time.perf_counter() - began
            self._state.metrics.observe(method, answer.template, answer.status, seconds)
            log_access(id, method, answer.template, answer.status, seconds)
        if self.answered % _TURN == 0:
            # A kept answer waits for nothing, so a caller in a loop, without a network, would never
            # let other tasks run.
            await asyncio.sleep(0)
        return True

    def answer_at_once(
        self,
        url: bytes,
        scope: Scope,
        loop: asyncio.AbstractEventLoop,
        server_headers: RawHeaders,
        *,
        has_turn: bool = False,
    ) -> bytes | Waits | None:
        """All bytes of the kept answer to a `GET` in HTTP/1.1, which the caller has to send; `None`
        if the request must take the way through the application.

        `scope` needs to have no more than the headers, the client and the scheme. `server_headers`
        come before the answer's own. `Waits` stands for an answer that may be sent in a later turn:
        the caller calls `wait_at_once`, and then this again, with `has_turn`.
        """
        began = time.perf_counter()
        audiences = self._kept.find(url, loop)
        if audiences is None:
            return None
        raw: RawHeaders = scope["headers"]
        headers = dict(raw)
        if not are_plain(headers, len(raw)):
            return None
        found = self._for(audiences, scope, headers)
        if found is None:
            return None
        answer, principal = found
        lines = answer.lines()
        if lines is None:
            return None
        client = _client(scope, principal)
        if not has_turn and not self._turns.take(client, loop):
            return Waits(client)
        token_id = principal.token_id
        if token_id is not None:
            if self._state.limits.take_request(token_id):
                return None
            self._users.add(token_id)
        id = request_id(headers.get(b"x-request-id"))
        of_pages = self._cross_origin(headers)
        seconds = time.perf_counter() - began
        self.answered += 1
        access = Access(time.time_ns(), id, "GET", answer.template, answer.status, seconds)
        self._accesses.note(access, loop)
        return b"%s%s%sx-request-id: %s\r\n%s%s\r\n%s" % (
            answer.status_line,
            self._lines.of_server(server_headers),
            lines[0],
            id.encode(),
            header_lines(of_pages) if of_pages else b"",
            lines[1],
            answer.body,
        )

    def wait_at_once(
        self, waits: Waits, loop: asyncio.AbstractEventLoop, give: Callable[[], bool]
    ) -> None:
        """Call `give` when the answer may be sent. It returns whether it sent one."""
        self._turns.queue(waits.client, loop, give)

    def _find(self, scope: Scope) -> tuple[Headers, KeptAnswer, Principal] | None:
        """The headers, the answer and the sender of a request that may be answered now."""
        url = url_of(scope)
        audiences = self._kept.find(url, asyncio.get_running_loop()) if url is not None else None
        if audiences is None:
            return None
        headers, fault = read_head(scope)
        found = self._for(audiences, scope, headers) if fault is None else None
        return (headers, *found) if found is not None else None

    def _for(
        self, audiences: Audiences, scope: Scope, headers: Headers
    ) -> tuple[KeptAnswer, Principal] | None:
        """The answer for the sender of a request with these headers, and the sender."""
        if (
            _may_have_body(headers)
            # Rare for a read, and an error if it does not hold.
            or IF_MATCH in headers
            # It may have to wait.
            or (PREFER in headers and IF_NONE_MATCH in headers)
            or not self._admits(scope, headers)
        ):
            return None
        principal = known_sender(self._state, scope, headers)
        if principal is None:
            return None
        accepted = headers.get(b"accept-encoding")
        gzip = accepted is not None and takes_gzip(accepted)
        answer = audiences.get((principal.project_ids, gzip))
        if answer is None:
            return None
        for needed in answer.scopes:
            if not principal.may(needed):
                return None
        known, etag = headers.get(IF_NONE_MATCH), answer.etag
        if known is not None and etag is not None:
            try:
                if known == etag or is_known(known, etag):
                    return answer.not_modified, principal
            except BadRequest:
                return None
        return answer, principal

    def _cross_origin(self, headers: Headers) -> RawHeaders:
        """The headers of an answer to a page of another origin."""
        cross_origin = self._state.cross_origin
        return cross_origin.headers(headers.get(b"origin")) if cross_origin is not None else []

    def _settle(self) -> None:
        """Note the uses of tokens in a turn."""
        users, self._users = self._users, set()
        if self._state.service is not None:
            for token_id in users:
                self._state.service.tokens.note_use(token_id)


def _client(scope: Scope, principal: Principal) -> int | str:
    """The client that shares the turns with others: the token, or the address without tokens."""
    if principal.token_id is not None:
        return principal.token_id
    client = scope.get("client")
    return client[0] if client is not None else ""


def _may_have_body(headers: Headers) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
