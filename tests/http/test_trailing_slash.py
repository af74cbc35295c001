"""A slash at the end of a path: it is a different path, and the error names the right one."""

import re

import httpx
import pytest
from fastapi import FastAPI

from config.settings import Settings
from tests.support.http import problem
from tests.support.routes import calls


@pytest.mark.shared
async def test_every_route_with_a_slash_at_its_end_is_named_without_it(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    for call in calls(application):
        if call.template == "/":
            continue
        path = re.sub(r"\{\w+\}", "sentinel", call.template)
        for end in ("/", "//"):
            response = await client.request(call.method, path + end)
            detail = problem(response, "not_found")["detail"]
            assert detail.endswith(f" {call.template}"), (str(call), detail)
            assert "sentinel" not in response.text


@pytest.mark.parametrize("path", ["/docs/", "/openapi.json/", "/health/"])
async def test_open_paths_are_named_as_well(stranger: httpx.AsyncClient, path: str) -> None:
    document = problem(await stranger.get(path), "not_found")
    assert document["detail"].endswith(f" {path[:-1]}")


@pytest.mark.shared
@pytest.mark.parametrize(
    "path",
    ["/nowhere/", "/api/", "/api/sentinel/", "/api/projects/1/2/3/4/", "/api//", "/openapi-json/"],
)
async def test_a_path_that_is_not_there_without_it_either_is_not_named(
    client: httpx.AsyncClient, path: str
) -> None:
    document = problem(await client.get(path), "not_found")
    assert document["detail"] == "no such path; /docs lists what there is"


class TestOff:
    """The pages that list the paths are turned off."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """`STRONGROOM_DOCS=off`."""
        return settings.model_copy(update={"docs": "off"})

    async def test_the_pages_are_not_named(self, client: httpx.AsyncClient) -> None:
        for path in ("/docs/", "/openapi.json/"):
            document = problem(await client.get(path), "not_found")
            assert document["detail"] == "no such path"
        document = problem(await client.get("/api/projects/"), "not_found")
        assert document["detail"].endswith(" /api/projects")
