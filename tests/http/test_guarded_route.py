"""The arguments that a guarded route passes to its endpoint, and the endpoints that it accepts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Request

from backend.http.guarded_route import GuardedRoute, GuardedRouter, Service
from backend.http.route_policy import reads, writes
from backend.routes import ROUTERS
from models import Scope

POLICIES = {
    ("GET", "/api/projects"): reads(Scope.PROJECTS_READ),
    ("POST", "/api/projects"): writes(Scope.PROJECTS_WRITE),
}


def route_of(endpoint: Callable[..., Any]) -> GuardedRoute:
    """A route with this endpoint."""
    router = GuardedRouter(tag="test", policies=POLICIES)
    router.get("/api/projects")(endpoint)
    (route,) = router.guarded_routes
    return route


def plain(service: Service) -> dict[str, bool]:
    return {"made": service is not None}


def without_service() -> dict[str, bool]:
    return {}


def promising(service: Service) -> Awaitable[None]:
    raise NotImplementedError(service)


def pieces(service: Service) -> Iterator[bytes]:
    yield repr(service).encode()


async def slow_pieces(service: Service) -> AsyncIterator[bytes]:
    yield repr(service).encode()


class Endpoint:
    """An object that can be called like a function."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, service: Service) -> None:
        """Answer."""


@pytest.mark.parametrize(
    "endpoint",
    [
        plain,
        without_service,
        promising,
        pieces,
        slow_pieces,
        Endpoint,
        partial(plain),
        Endpoint.__new__(Endpoint),
        lambda service: service,
    ],
)
def test_an_endpoint_that_is_no_coroutine_is_refused_when_it_is_declared(
    endpoint: Callable[..., Any],
) -> None:
    with pytest.raises(TypeError, match="declare it with `async def`"):
        route_of(endpoint)


async def alone(service: Service) -> dict[str, Any]:
    return {"service": id(service)}


async def by_text(service: "Service", limit: int = 1) -> dict[str, Any]:
    return {"service": id(service), "limit": limit}


async def described(service: Annotated[Service, "more is said of it"]) -> dict[str, Any]:
    return {"service": id(service)}


async def twice(one: Service, two: Service) -> dict[str, Any]:
    return {"service": id(one) if one is two else None}


async def with_request(request: Request, service: Service) -> dict[str, Any]:
    return {"service": id(service), "path": request.url.path}


async def with_described_request(
    service: Service, request: Annotated[Request, "the one that came"]
) -> dict[str, Any]:
    return {"service": id(service), "path": request.url.path}


async def with_more(service: Service, fixed: int) -> dict[str, Any]:
    return {"service": id(service), "fixed": fixed}


@pytest.mark.shared
@pytest.mark.parametrize(
    "endpoint",
    [
        alone,
        by_text,
        described,
        twice,
        with_request,
        with_described_request,
        partial(with_more, fixed=1),
    ],
)
async def test_every_endpoint_with_a_service_is_given_the_one_that_runs(
    endpoint: Callable[..., Any], client: httpx.AsyncClient, application: FastAPI
) -> None:
    application.router.routes.insert(0, route_of(endpoint))
    response = await client.get("/api/projects")
    assert response.json()["service"] == id(application.state.service)


@pytest.mark.shared
@pytest.mark.parametrize("length", [None, 0, 5])
async def test_the_body_limit_of_a_route_is_kept_as_fastapi_keeps_it(
    length: int | None, client: httpx.AsyncClient, application: FastAPI
) -> None:
    async def take(project: dict[str, str]) -> dict[str, str]:
        return project

    router = GuardedRouter(tag="test", policies=POLICIES)
    router.post("/api/projects", max_body_size=length)(take)
    (route,) = router.guarded_routes
    application.router.routes.insert(0, route)
    response = await client.post("/api/projects", json={"name": "longer than that"})
    assert response.status_code == (200 if length is None else 413)
    assert (route.direct is not None) is (length is None)


def test_the_routes_that_are_asked_most_are_called_directly() -> None:
    routes = [route for router in ROUTERS for route in router.guarded_routes]
    direct = {route.key for route in routes if route.direct is not None}
    assert direct >= {
        ("GET", "/api/agent-runs"),
        ("GET", "/api/logs"),
        ("GET", "/api/projects"),
        ("GET", "/api/projects/{project_id}"),
        ("GET", "/api/projects/{project_id}/configuration"),
        ("GET", "/api/projects/{project_id}/full"),
        ("POST", "/api/projects"),
        ("PATCH", "/api/projects/{project_id}"),
        ("PUT", "/api/projects/{project_id}/secrets"),
        ("POST", "/api/agent-runs/claim"),
        ("POST", "/api/agent-runs/{run_id}/heartbeat"),
        ("POST", "/api/logs"),
    }
