"""The short way of a request whose answer is kept.

Everything that the ordinary way does is done here too. A request that needs more, such as the
look-up of a token, a refusal or a wait, takes the ordinary way, which then gives the same answer.
"""

from collections.abc import Callable

from starlette.types import Scope

from backend.http.authentication import count_request, known_sender
from backend.http.exchange import takes_gzip
from backend.http.kept_answers import KeptAnswer
from backend.http.kept_turns import KeptTurns
from backend.http.request_head import Headers, read_head
from backend.http.state import AppState
from backend.services.principal import Principal

_METHODS = frozenset({"GET", "HEAD"})

_TURN = 64

Admits = Callable[[Scope, Headers], bool]
"""Whether the edge lets a request with these headers through."""


class KeptPath:
    """Finds the kept answers to requests. Belongs to the event loop's thread."""

    def __init__(self, state: AppState, admits: Admits) -> None:
        self._state = state
        self._kept = state.kept
        self._admits = admits
        self._turns = KeptTurns()
        self.answered = 0
        """How many requests got a kept answer."""

    async def take(self, scope: Scope) -> tuple[Headers, KeptAnswer] | None:
        """The headers of the request and its answer; `None` if it must take the ordinary way. A
        request that gets an answer is counted as one of its token."""
        found = self._find(scope)
        if found is None:
            return None
        client = found[2].token_id or _address(scope)
        if not self._turns.take(client):
            await self._turns.wait(client)
            found = self._find(scope)
        if found is None or not count_request(self._state, found[2]):
            return None
        self.answered += 1
        return found[:2]

    def _find(self, scope: Scope) -> tuple[Headers, KeptAnswer, Principal] | None:
        if scope["method"] not in _METHODS:
            return None
        audiences = self._kept.find(scope)
        if audiences is None:
            return None
        headers, fault = read_head(scope)
        if fault is not None or _may_have_body(headers) or not self._admits(scope, headers):
            return None
        principal = known_sender(self._state, headers.get(b"authorization"))
        if principal is None:
            return None
        accepted = headers.get(b"accept-encoding")
        gzip = accepted is not None and takes_gzip(accepted)
        answer = audiences.get((principal.project_ids, gzip))
        if answer is None or not principal.may(answer.scope):
            return None
        return headers, answer, principal

    def is_turn_over(self) -> bool:
        """Whether it is time to let other tasks run. A kept answer waits for nothing, so a caller
        in a loop, without a network, would never let them."""
        return self.answered % _TURN == 0


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client is not None else ""


def _may_have_body(headers: Headers) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
