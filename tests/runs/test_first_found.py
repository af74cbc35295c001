"""A short part that thousands have is read from its first ids, as far as the page needs."""

import random

import pytest

from backend.repositories import part_search
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.http import walk


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize(
    "indexed", [40, *(pytest.param(more, marks=pytest.mark.long_form) for more in (48, 60))]
)
@pytest.mark.parametrize("resource", ["projects", "agent_runs"])
async def test_pages_of_a_short_part_are_whole(
    api: Api,
    clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
    resource: str,
    indexed: int,
    sort: str,
) -> None:
    """Also if filters leave most out, and what is not indexed is older than what is."""
    taken = 0
    first = part_search.PartSearch._first_found

    async def observed(search: part_search.PartSearch, found: object) -> object:
        nonlocal taken
        query = await first(search, found)  # type: ignore[arg-type]
        taken += query is not None
        return query

    monkeypatch.setattr(part_search.PartSearch, "_first_found", observed)
    chance = random.Random(indexed)  # noqa: S311 - no secret
    index = api.service.project_index if resource == "projects" else api.service.run_index
    made = []
    for number in range(60):
        clock.advance(-90 if number == 50 else 1)
        text = chance.choice(("zq1", "zq2", "other"))
        if resource == "projects":
            names = {"github_repo": f"r{number}", "status": chance.choice(STATUSES)}
            id = await api.new_project(f"{text} {number}", **names)
            made.append(await api.get(f"/api/projects/{id}"))
        else:
            made.append(await api.new_run(target_text=text, run_type=chance.choice(TYPES)))
        if number == indexed - 1:
            while (await index.index_next(100)).rows:
                pass
    texts = {"projects": "name", "agent_runs": "target_text"}
    filters = {"projects": ("status", STATUSES), "agent_runs": ("run_type", TYPES)}
    name, values = filters[resource]
    for value in (None, *values):
        for limit in (1, 2, 3, 7):
            params = {"q": "zq", "sort": sort, "limit": limit}
            if value is not None:
                params[name] = value
            path = f"/api/{resource.replace('_', '-')}"
            found = await walk(api.client, path, resource, **params)
            expected = sorted(
                (
                    one
                    for one in made
                    if "zq" in one[texts[resource]] and value in (None, one[name])
                ),
                key=lambda one: (one["created_at"] if resource == "projects" else "", one["id"]),
                reverse=sort[0] == "-",
            )
            assert found == expected, params
    # The order of projects is not that of ids once what is indexed was not created in it.
    assert (taken > 0) is (resource == "agent_runs" or indexed <= 50)


STATUSES = ("active", "inactive", "archived", "archived", "archived", "archived")
TYPES = ("regular", "plan", "pr", "pr", "pr", "pr")
