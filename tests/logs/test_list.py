"""Finding logs by their fields, page by page."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.api import Api, Json, codes
from tests.support.clocks import SetClock
from tests.support.logs import found, log, messages, send

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TRAITS: dict[str, tuple[Any, ...]] = {
    "level": (None, "DEBUG", "INFO", "WARNING", "CRITICAL"),
    "component": (None, "planner", "Planner", "absent"),
    "correlation_id": (None, "c-1"),
    "agent_run_id": (None, 1, 9),
    "project_id": (None, 1, 2, 9),
    "q": (None, "even", "even seven"),
}


def combinations() -> Iterator[Json]:
    """Every combination of filters, with each of their values."""
    for values in product(*TRAITS.values()):
        chosen = zip(TRAITS, values, strict=True)
        yield {name: value for name, value in chosen if value is not None}


def is_meant(item: Json, wanted: Json) -> bool:
    """Whether a list with these filters must contain the log."""
    for name, value in wanted.items():
        if name == "level":
            if LEVELS.index(item["level"]) < LEVELS.index(value):
                return False
        elif name == "q":
            if not set(value.split()) <= set(item["message"].split()):
                return False
        elif item[name] != value:
            return False
    return True


@pytest.fixture
async def logs(api: Api) -> list[Json]:
    """Logs with all kinds of fields in two projects, the newest first."""
    await api.new_project("second")
    await api.new_run(1)
    await api.new_run(2)
    names = [None, "planner", "Planner"]
    owners: list[Json] = [{}, {"project_id": 1}, {"agent_run_id": 1}, {"agent_run_id": 2}]
    await send(
        api,
        *(
            log(
                f"{number} {'even' if number % 2 == 0 else 'odd'} {'seven' * (number % 7 == 0)}",
                LEVELS[number % 5],
                component=names[number % 3],
                correlation_id=f"c-{number % 4}",
                **owners[number % len(owners)],
            )
            for number in range(120)
        ),
    )
    return await found(api, limit=500)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long_form)])
async def test_a_list_has_what_fits_all_filters_newest_first(
    api: Api, logs: list[Json], step: int
) -> None:
    every = list(combinations())
    assert len(every) == 1440
    # No number of values of a filter is a multiple of seven, so each value is tried.
    for wanted in every[::step]:
        expected = [item for item in logs if is_meant(item, wanted)]
        assert await found(api, limit=500, **wanted) == expected, wanted


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"level": "WARNING"},
        {"level": "INFO"},
        {"component": "planner"},
        {"project_id": 1},
        {"agent_run_id": 2},
        {"correlation_id": "c-1"},
        {"q": "even"},
        {"q": "even", "level": "ERROR", "project_id": 1},
    ],
    ids=str,
)
async def test_pages_leave_nothing_out_and_repeat_nothing(
    api: Api, logs: list[Json], wanted: Json
) -> None:
    seen: list[Json] = []
    query = urlencode({"limit": 7, **wanted})
    cursor = ""
    while True:
        page = await api.get(f"/api/logs?{query}{cursor}")
        seen += page["logs"]
        # A log that is added meanwhile belongs before the first page.
        await send(api, log("even", "ERROR", component="planner", agent_run_id=2))
        if page["next_cursor"] is None:
            break
        assert len(page["logs"]) == 7
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [item for item in logs if is_meant(item, wanted)]


async def test_a_list_of_a_span_of_time_has_its_ends(api: Api, clock: SetClock) -> None:
    for number in range(5):
        await send(api, log(f"{number} a"), log(f"{number} b", "ERROR", component="x"))
        clock.advance(60)
    second, fourth = clock.text(-240), clock.text(-120)
    assert await messages(api, since=second, until=fourth) == [
        *("3 b", "3 a", "2 b", "2 a", "1 b", "1 a"),
    ]
    assert await messages(api, since=second, until=fourth, level="ERROR") == ["3 b", "2 b", "1 b"]
    assert await messages(api, since=second, until=fourth, q="b", component="x") == [
        *("3 b", "2 b", "1 b"),
    ]
    assert await messages(api, since=clock.text()) == []
    assert await messages(api, until=clock.text(-301)) == []
    assert await messages(api, since=fourth, until=second) == []
    assert await messages(api, since=clock.text(-61)) == ["4 b", "4 a"]


async def test_a_time_may_be_of_any_zone(api: Api, clock: SetClock) -> None:
    await send(api, log())
    assert clock.text() == "2026-01-31T12:00:00.000000Z"
    assert len(await found(api, since="2026-01-31T13:00:00+01:00")) == 1
    assert len(await found(api, since="2026-01-31T13:00:00.000001+01:00")) == 0
    assert len(await found(api, until="2026-01-31T07:00:00-05:00")) == 1


@pytest.mark.shared
@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"level": "warned"}, "/query/level"),
        ({"level": ""}, "/query/level"),
        ({"since": "yesterday"}, "/query/since"),
        ({"since": "2026-01-31T12:00:00"}, "/query/since"),
        ({"until": "9999-12-31T23:59:59-01:00"}, "/query/until"),
        ({"until": "0001-01-01T00:00:00+01:00"}, "/query/until"),
        ({"project_id": "0"}, "/query/project_id"),
        ({"agent_run_id": str(2**63)}, "/query/agent_run_id"),
        ({"component": "c" * 101}, "/query/component"),
        ({"correlation_id": "c" * 101}, "/query/correlation_id"),
        ({"q": "q" * 256}, "/query/q"),
        ({"limit": "0"}, "/query/limit"),
        ({"limit": "501"}, "/query/limit"),
    ],
)
async def test_a_wrong_filter_is_told(api: Api, params: dict[str, str], place: str) -> None:
    answer = await api.get(f"/api/logs?{urlencode(params)}", 422)
    assert [pointer for pointer, _ in codes(answer)] == [place]


@pytest.mark.shared
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"level": "INFO"},
        {"level": "ERROR", "q": "it"},
        {"level": "ERROR", "since": "2026-01-01T00:00:00Z"},
        {"level": "ERROR", "project_id": 1},
    ],
    ids=str,
)
async def test_a_cursor_belongs_to_its_filters(api: Api, other: Json) -> None:
    await send(api, *([log(level="ERROR")] * 3))
    cursor = (await api.get("/api/logs?level=ERROR&limit=1"))["next_cursor"]
    query = urlencode({"limit": 1, "cursor": cursor, **other})
    assert (await api.get(f"/api/logs?{query}", 400))["code"] == "bad_cursor"
    altered = urlencode({"limit": 1, "level": "ERROR", "cursor": cursor[::-1]})
    assert (await api.get(f"/api/logs?{altered}", 400))["code"] == "bad_cursor"
