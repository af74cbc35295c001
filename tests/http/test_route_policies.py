"""Each route has one row, next to it; a route that contradicts its row is refused at once."""

from collections import Counter

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from backend.http.guarded_route import GuardedRoute, GuardedRouter
from backend.http.route_policy import OPEN, Queue, RoutePolicy, reads
from backend.routes import POLICIES, ROUTERS
from models import Scope

PATH = "/api/things"


async def answer() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: str(router.tags))
def test_every_route_has_one_row_and_every_row_one_route(router: GuardedRouter) -> None:
    routes = list(router.guarded_routes)
    assert len(routes) == len(router.routes)
    assert Counter(route.key for route in routes) == Counter(list(router.policies))
    assert all(path.startswith(router.prefix) for _, path in router.policies)


def test_no_route_has_a_row_with_another_router(application: FastAPI) -> None:
    assert len(POLICIES) == sum(len(router.policies) for router in ROUTERS)
    served = [route for route in application.router.routes if isinstance(route, GuardedRoute)]
    assert Counter(route.key for route in served) == Counter(list(POLICIES))


def test_what_a_row_says_of_queues_and_tokens_goes_with_its_method() -> None:
    for (method, path), policy in POLICIES.items():
        if policy.queue is Queue.READING:
            assert method == "GET", path
        if policy.queue is None:
            assert policy.scope is OPEN or policy.is_open_on_loopback, path
    assert [path for (_, path), row in POLICIES.items() if row.is_open_on_loopback] == ["/metrics"]
    assert [path for (_, path), row in POLICIES.items() if row.is_streamed] == ["/api/audit/export"]


def test_no_other_route_is_open_than_those_that_need_to_be() -> None:
    assert {key for key, policy in POLICIES.items() if policy.scope is OPEN} == {
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/ready"),
        # Its body has the token.
        ("POST", "/api/session"),
        # A signature stands in for the token.
        ("POST", "/api/webhooks/{webhook_id}/deliveries/github"),
    }


def test_a_route_without_a_row_is_refused_when_it_is_declared() -> None:
    router = GuardedRouter(
        tag="test", prefix=PATH, policies={("GET", PATH): reads(Scope.PROJECTS_READ)}
    )
    router.get("")(answer)
    for wrong in (router.post(""), router.get("/{id}")):
        with pytest.raises(LookupError, match="has no row"):
            wrong(answer)


def test_an_answer_that_is_streamed_against_its_row_is_refused_when_it_is_declared() -> None:
    for says in (True, False):
        row = reads(Scope.PROJECTS_READ, is_streamed=says)
        router = GuardedRouter(tag="test", prefix=PATH, policies={("GET", PATH): row})
        right = router.get("", response_class=StreamingResponse) if says else router.get("")
        wrong = router.get("") if says else router.get("", response_class=StreamingResponse)
        right(answer)
        with pytest.raises(TypeError, match="streamed"):
            wrong(answer)


def test_an_open_route_has_no_queue() -> None:
    with pytest.raises(ValueError, match="can't wait in a queue"):
        RoutePolicy(scope=OPEN, queue=Queue.READING)
