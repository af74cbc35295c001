"""A directly called route gives the same answer as one that FastAPI calls."""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
)
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute, get_request_handler
from fastapi.security import SecurityScopes
from pydantic import BaseModel, Field, Json, computed_field
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from backend.http.fast_path.direct_call import (
    HONOURED_OPTIONS,
    HONOURED_PARTS,
    DirectCall,
    application,
    is_ordinary,
)
from tests.support.clients import client_of

Number = Annotated[int, Path(ge=1)]


class Item(BaseModel):
    name: str = Field(max_length=5)
    sizes: list[int] = []
    note: str | None = Field(default=None, alias="remark")
    hidden: int = Field(default=3, exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        """The number of sizes."""
        return len(self.sizes)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Direct(APIRoute):
    """Called directly."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert is_ordinary(self, options)
        self.app = application(DirectCall(self))


def make(route_class: type[APIRoute]) -> FastAPI:
    """An application of ordinary routes."""
    router = APIRouter(route_class=route_class)

    @router.get("/read/{number}")
    async def read(number: Number) -> Item:
        return Item(name="é", sizes=[number])

    @router.post("/write", status_code=201)
    async def write(item: Item) -> Item:
        return item

    @router.put("/{number}/{text}")
    async def put(
        number: Number,
        text: Annotated[str, Path(max_length=3)],
        item: Annotated[Item | None, Body()],
        request: Request,
        response: Response,
    ) -> dict[str, Any]:
        response.headers["Location"] = f"/{number}/{text}"
        response.set_cookie("one", "1")
        response.set_cookie("two", "2")
        response.status_code = {7: 202, 8: 204, 9: 304}.get(number, 200)
        return {"item": item, "method": request.method, "text": text}

    @router.get("/search/{number}")
    async def search(
        number: Number,
        text: Annotated[str | None, Query(max_length=3)] = None,
        flag: bool = False,
        size: Annotated[int, Query(ge=1)] = 5,
        share: float | None = None,
        since: datetime | None = None,
        colour: Colour = Colour.RED,
        sort: Literal["up", "down"] = "up",
        colours: Annotated[tuple[Colour, ...], Query()] = (),
        sizes: Annotated[list[int], Query(max_length=2)] = (1,),  # type: ignore[assignment]
    ) -> dict[str, Any]:
        arguments = (number, text, flag, size, share, since, colour, sort, colours, sizes)
        return {"types": [type(value).__name__ for value in arguments], "values": arguments}

    @router.post("/response", status_code=201, response_model=Item)
    async def plain(response: Response) -> Response:
        response.headers["X-Lost"] = "1"
        return PlainTextResponse("plain", 203)

    @router.post("/wrong")
    async def wrong() -> Item:
        return {"name": "too long", "sizes": "none"}  # type: ignore[return-value]

    @router.post("/refused")
    async def refused(response: Response) -> Item:
        response.headers["X-Lost"] = "1"
        raise HTTPException(418, "no", {"X-Kept": "1"})

    app = FastAPI(openapi_url=None)
    app.router.routes.extend(router.routes)
    return app


@pytest.fixture
def clients() -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """A client of the direct application, and one of the application that uses FastAPI's
    handler."""
    direct, usual = (client_of(make(kind), raising=True) for kind in (Direct, APIRoute))
    return direct, usual


GOOD = {"name": "a", "sizes": [1, 2], "remark": "b"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/read/1", None, 200),
        ("GET", "/read/0", None, 422),
        ("GET", "/read/x", None, 422),
        ("POST", "/write", GOOD, 201),
        ("POST", "/write", {"name": "too long", "sizes": ["x", 1.5]}, 422),
        ("POST", "/write", [], 422),
        ("POST", "/write", "text", 422),
        ("POST", "/write", 0, 422),
        ("PUT", "/1/abc", GOOD, 200),
        ("PUT", "/7/abc", GOOD, 202),
        ("PUT", "/8/abc", GOOD, 204),
        ("PUT", "/9/abc", GOOD, 304),
        ("PUT", "/0/abcd", {"name": 1}, 422),
        ("PUT", "/0/abc", GOOD, 422),
        ("PUT", "/1/abcd", {"sizes": None}, 422),
        ("GET", "/search/1", None, 200),
        ("GET", "/search/1?", None, 200),
        ("GET", "/search/1?text=&text=abc&unknown=1", None, 200),
        (
            "GET",
            "/search/1?text=a%20b&flag=on&size=7&share=1.5&since=2026-01-31T12:00:00Z",
            None,
            200,
        ),
        (
            "GET",
            "/search/1?colour=blue&sort=down&colours=red&colours=blue&sizes=1&sizes=2",
            None,
            200,
        ),
        ("GET", "/search/1?sizes=7&size=1&size=2&colours=red", None, 200),
        ("GET", "/search/1?text=abcd", None, 422),
        ("GET", "/search/1?flag=&size=&share=&since=&colour=&sort=&colours=&sizes=", None, 422),
        ("GET", "/search/0?size=0&sort=left&colour=green&sizes=1&sizes=x&sizes=3", None, 422),
        ("GET", "/search/x?colours=red&colours=green&share=much&since=now", None, 422),
        ("POST", "/response", None, 203),
        ("POST", "/refused", None, 418),
    ],
)
async def test_it_answers_as_fastapi_does(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient],
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    direct, usual = [await client.request(method, path, json=body) for client in clients]
    assert direct.status_code == usual.status_code == status
    assert direct.headers.raw == usual.headers.raw
    assert direct.content == usual.content


async def test_null_is_a_body(clients: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    headers = {"Content-Type": "application/json"}
    for path, status in (("/1/abc", 200), ("/0/abc", 422)):
        direct, usual = [
            await client.put(path, content=b"null", headers=headers) for client in clients
        ]
        assert direct.status_code == usual.status_code == status
        assert direct.content == usual.content


async def test_an_answer_that_breaks_its_promise_is_an_error(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    told = []
    for client in clients:
        with pytest.raises(ResponseValidationError) as caught:
            await client.post("/wrong")
        told.append(caught.value.errors())
    assert told[0] == told[1]


async def nothing() -> None:
    """A dependency."""


def endpoint(*annotations: Any, default: Any = Parameter.empty, answer: Any = Item) -> Any:
    """An endpoint with these parameters."""

    async def call(**_arguments: Any) -> None: ...

    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation in zip("ab", annotations, strict=False)
    ]
    call.__signature__ = Signature(parameters, return_annotation=answer)  # type: ignore[attr-defined]
    return call


def blocking() -> Item:
    """An endpoint that is not a coroutine."""
    return Item(name="a")


@pytest.mark.parametrize(
    "other",
    [
        endpoint(int),
        endpoint(str | None),
        endpoint(Annotated[str, Header()]),
        endpoint(Annotated[str, Cookie()]),
        endpoint(Annotated[Item, Query()]),
        endpoint(Annotated[Item | None, Query()], default=None),
        endpoint(Annotated[int, Query(alias="n")], default=1),
        endpoint(Annotated[int, Query(validation_alias="a")], default=1),
        endpoint(Annotated[int, Query(default_factory=int)]),
        endpoint(Annotated[int, Query(validate_default=True)], default=1),
        endpoint(Annotated[list[int], Query()], default=[1]),
        endpoint(Annotated[tuple[Any, ...], Query()], default=([1],)),
        endpoint(Annotated[list[int], Query()]),
        endpoint(Annotated[list, Query()], default=()),
        endpoint(Annotated[set[int], Query()], default=()),
        endpoint(Annotated[list[int] | None, Query()], default=None),
        endpoint(Annotated[Json[int], Query()], default=1),
        endpoint(Annotated[Any, Query()], default=None),
        endpoint(Annotated[None, Depends(nothing)]),
        endpoint(BackgroundTasks),
        endpoint(SecurityScopes),
        endpoint(HTTPConnection),
        endpoint(Item, Item),
        endpoint(Item, int),
        endpoint(Annotated[Item, Body(embed=True)]),
        endpoint(Annotated[Item, Body(media_type="application/yaml")]),
        endpoint(Item | None, default=None),
        endpoint(Item, answer=None),
        endpoint(Item, answer=Response),
        blocking,
    ],
)
def test_a_route_with_anything_else_is_not_ordinary(other: Any) -> None:
    assert is_ordinary(APIRoute("/", endpoint(Item), methods=["POST"]), {})
    assert not is_ordinary(APIRoute("/", other, methods=["POST"]), {})


@pytest.mark.parametrize(
    "annotation",
    [int, str | None, bool, float | str, datetime | None, Colour, Literal[1, "a"], list[Colour]],
)
def test_a_query_of_simple_values_is_ordinary(annotation: Any) -> None:
    parameter = Annotated[annotation, Query(description="optional")]
    assert is_ordinary(APIRoute("/", endpoint(parameter, default=None)), {})


def test_a_name_by_another_name_is_not_ordinary() -> None:
    assert is_ordinary(APIRoute("/{a}", endpoint(int)), {})
    assert not is_ordinary(APIRoute("/{n}", endpoint(Annotated[int, Path(alias="n")])), {})


@pytest.mark.parametrize(
    "options",
    [
        {"response_class": PlainTextResponse},
        {"response_model": None},
        {"response_model_include": {"name"}},
        {"response_model_include": set()},
        {"response_model_exclude": {"name"}},
        {"response_model_by_alias": False},
        {"response_model_exclude_unset": True},
        {"response_model_exclude_defaults": True},
        {"response_model_exclude_none": True},
        {"dependencies": [Depends(nothing)]},
        {"dependency_overrides_provider": FastAPI()},
        {"strict_content_type": False},
        {"max_body_size": 5},
        {"max_body_size": 0},
        {"form_limits": {"max_fields": 1}},
    ],
)
def test_an_answer_of_another_kind_is_not_ordinary(options: dict[str, Any]) -> None:
    route = APIRoute("/", endpoint(Item), methods=["POST"], **options)
    assert not is_ordinary(route, options)


# FastAPI's other options, which a direct call ignores: a route that uses one is left to FastAPI.
# Examine an option before you add it here.
OTHER_OPTIONS = {
    "dependency_overrides_provider",
    "form_limits",
    "max_body_size",
    "response_class",
    "response_model_by_alias",
    "response_model_exclude",
    "response_model_exclude_defaults",
    "response_model_exclude_none",
    "response_model_exclude_unset",
    "response_model_include",
    "strict_content_type",
}
OTHER_PARTS = {
    "background_tasks_param_name",
    "concurrency",
    "cookie_params",
    "dependencies",
    "header_params",
    "http_connection_param_name",
    "own_oauth_scopes",
    "parent_oauth_scopes",
    "security_scopes_param_name",
    "websocket_param_name",
}
OF_THE_HANDLER = {
    "body_field",
    "dependant",
    "embed_body_fields",
    "is_json_stream",
    "response_field",
    "stream_item_field",
}
"""The arguments of FastAPI's handler that are not options, but derived from the endpoint."""


def test_all_that_fastapi_knows_of_a_route_has_been_looked_at() -> None:
    options = set(signature(APIRoute.__init__).parameters) - {"self"}
    assert options == HONOURED_OPTIONS | OTHER_OPTIONS
    assert {part.name for part in fields(Dependant)} == HONOURED_PARTS | OTHER_PARTS
    assert set(signature(get_request_handler).parameters) - options == OF_THE_HANDLER


@dataclass(slots=True)
class LaterDependant(Dependant):
    """A later version of FastAPI might have another field."""

    later: tuple[str, ...] = ()


def test_what_a_later_fastapi_knows_is_left_to_it() -> None:
    route = APIRoute("/", endpoint(Item), methods=["POST"])
    assert not is_ordinary(route, {"later": True})
    parts = {part.name: getattr(route.dependant, part.name) for part in fields(Dependant)}
    for later in ((), ("something",)):
        route.dependant = LaterDependant(**parts, later=later)
        assert is_ordinary(route, {}) is (later == ())
