"""The work of routes whose requests may wait."""

from collections.abc import Awaitable, Callable, Hashable
from copy import copy

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backend.http.authentication import running_service
from backend.http.entity_tags import IF_MATCH, IF_NONE_MATCH
from backend.http.kept_answers import OFFER
from backend.http.request_head import headers_of
from backend.http.route_policy import ANY_TOKEN, RoutePolicy
from backend.http.state import state_of
from backend.http.token_checks import require_valid
from backend.http.waiting.claim_line import Claimer
from backend.http.waiting.concerns import concern_of
from backend.http.waiting.preference import PREFER, applied, wait_seconds
from backend.http.waiting.questions import Ask, Reader, Told, is_news
from backend.http.waiting.waiter import Ending
from backend.services.principal import Principal
from backend.services.runs.seeking import seeking

Wait = Callable[[Request, Principal, int], Awaitable[Response]]
"""Answers a request that may wait for so many seconds."""


def reading(work: Ask, policy: RoutePolicy, template: str) -> Ask:
    """The work of a route whose answers have a tag: with `If-None-Match` and `Prefer: wait=N`, it
    waits for an answer that the client does not have."""

    async def wait(request: Request, principal: Principal, seconds: int) -> Response:
        reader = Reader(request, principal, seconds, headers_of(request.scope)[IF_NONE_MATCH])
        key = _key(request, principal, policy)
        concern = concern_of(policy, template, request.path_params, request.query_params)
        waits = state_of(request.scope["app"]).waits
        async with (
            waits.entered(reader, running_service(request)),
            waits.asking(reader, key, work, concern) as question,
        ):
            heard = question.heard
            told = question.present(reader.if_none_match)
            if told is None:
                waits.asked["arrivals"] += 1
                answer = await work(request, reader.principal)
                if is_news(answer, reader.if_none_match):
                    return answer
                told = Told.of(answer)
                # Many may wait, and what they know already may be large.
                del answer
                question.learn(told, heard)
                question.expect(heard)
            outcome = await reader.woken()
            await require_valid(request, reader.principal)
            if isinstance(outcome, Response):
                answer = copy(outcome)
                answer.raw_headers = list(outcome.raw_headers)
                return answer
            if outcome is Ending.TIME and question.is_behind(heard):
                # The time is up in the pause between two askings.
                return await work(request, reader.principal)
            return told.not_modified(headers_of(request.scope))

    applying = _applying(work, wait)

    def may_wait(request: Request, principal: Principal) -> Awaitable[Response]:
        headers = headers_of(request.scope)
        if PREFER not in headers or IF_NONE_MATCH not in headers or IF_MATCH in headers:
            return work(request, principal)
        return applying(request, principal)

    return may_wait


def claiming(work: Ask) -> Ask:
    """The work of a claim: with `Prefer: wait=N`, it waits for a run."""

    async def wait(request: Request, principal: Principal, seconds: int) -> Response:
        claimer = Claimer(request, principal, seconds)
        waits = state_of(request.scope["app"]).waits
        line = waits.line
        entered = seeking.set(claimer.seeking)
        try:
            async with waits.entered(claimer, running_service(request)):
                line.arrive(claimer)
                answer = await work(request, claimer.principal)
                if answer.status_code == 204:
                    line.join(claimer)
                while answer.status_code == 204:
                    if not claimer.calls or claimer.ended is not None:
                        outcome = await claimer.woken()
                        if outcome is not Ending.NEWS:
                            await require_valid(request, claimer.principal)
                            return answer
                    line.answer(claimer)
                    waits.asked["claims"] += 1
                    answer = await work(request, claimer.principal)
                    if answer.status_code == 204:
                        line.found_none(claimer)
                    else:
                        line.took(claimer)
                return answer
        finally:
            line.leave(claimer)
            seeking.reset(entered)

    applying = _applying(work, wait)

    def may_wait(request: Request, principal: Principal) -> Awaitable[Response]:
        if PREFER not in headers_of(request.scope):
            return work(request, principal)
        return applying(request, principal)

    return may_wait


def _applying(work: Ask, wait: Wait) -> Ask:
    """`wait`, or `work` for a request that does not ask for it or can't have it."""

    async def apply(request: Request, principal: Principal) -> Response:
        seconds = wait_seconds(headers_of(request.scope))
        waits = state_of(request.scope["app"]).waits
        if seconds is None or not waits.may_wait:
            return await work(request, principal)
        answer = await (wait(request, principal, seconds) if seconds else work(request, principal))
        # It is not the answer that others would get.
        request.scope.pop(OFFER, None)
        if not isinstance(answer, StreamingResponse):
            answer.raw_headers.append(applied(seconds))
        return answer

    return apply


def _key(request: Request, principal: Principal, policy: RoutePolicy) -> Hashable:
    """What is the same for requests that get the same answer."""
    scope = request.scope
    return (
        scope["path"],
        scope["query_string"],
        principal.project_ids,
        principal.scopes,
        (principal.token_id, principal.session) if policy.scope is ANY_TOKEN else None,
    )
