"""`/ready` and `/metrics` tell how far the indexes that searches use are made."""

from collections.abc import Awaitable, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.repositories import following_index
from tests.support.api import Api


async def gauges(api: Api) -> dict[str, float]:
    """The gauges of rows to index."""
    response = await api.client.get("/metrics")
    return {
        family.name: family.samples[0].value
        for family in text_string_to_metric_families(response.text)
        if family.name.endswith("s_to_index")
    }


@pytest.mark.parametrize("kind", ["project", "run"])
async def test_progress_is_shown_while_searches_read_the_list(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make: dict[str, Callable[[int], Awaitable[object]]] = {
        "project": lambda number: api.new_project(f"p{number}"),
        "run": lambda _: api.new_run(),
    }
    index = {"project": api.service.project_index, "run": api.service.run_index}[kind]
    monkeypatch.setattr(following_index, "MOST_UNINDEXED", 5)
    for number in range(10 - (await index.state()).newest_id):
        await make[kind](number)
    name = f"{kind}_index"
    for done in (0, 4):
        assert (await api.get("/ready"))[name] == {"total": 10, "done": done}
        assert (await gauges(api))[f"strongroom_{kind}s_to_index"] == 10 - done
        await index.index_next(4)
    # Searches use the index now, and read what it lacks.
    assert name not in await api.get("/ready")
    assert (await gauges(api))[f"strongroom_{kind}s_to_index"] == 2
    await index.index_next(4)
    assert (await gauges(api))[f"strongroom_{kind}s_to_index"] == 0
