"""Lists between two times contain exactly the right logs, whatever the clock did."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from backend.repositories import log_blocks
from database.migrator import migrate
from tests.support.api import Api, Json, open_api
from tests.support.clocks import SetClock
from tests.support.earlier import make_runs_unindexed
from tests.support.logs import found, log, messages, send

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of five ids, so that a few dozen logs have many blocks."""
    monkeypatch.setattr(log_blocks, "BLOCK", 5)


async def test_what_came_after_the_clock_was_set_back_is_found(api: Api, clock: SetClock) -> None:
    await send(api, log("before"))
    clock.advance(2 * HOUR)
    await send(api, log("ahead"))
    clock.advance(-2 * HOUR)
    await send(api, log("after the correction"))
    assert await messages(api, until=clock.text(3 * HOUR)) == [
        *("after the correction", "ahead", "before"),
    ]
    assert await messages(api, until=clock.text(HOUR)) == ["after the correction", "before"]
    assert await messages(api, since=clock.text(HOUR)) == ["ahead"]
    clock.advance(HOUR)
    assert await messages(api, since=clock.text()) == ["ahead"]


def correct(clock: SetClock, _chance: random.Random) -> None:
    clock.advance(1)


def set_back_and_forth(clock: SetClock, chance: random.Random) -> None:
    clock.advance(chance.choice([1, 1, 1, 60, -HOUR, HOUR, -400 * DAY, 399 * DAY]))


def of_several_machines(clock: SetClock, chance: random.Random) -> None:
    clock.advance(chance.choice([2, 900, -895]))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("tick", [correct, set_back_and_forth, of_several_machines])
async def test_any_range_is_exact_for_any_clock(
    api: Api, clock: SetClock, tick: Callable[[SetClock, random.Random], None]
) -> None:
    chance = random.Random(13)  # noqa: S311
    number = 0
    while number < 100:
        size = chance.choice([1, 1, 2, 7, 12])
        await send(
            api,
            *(
                log(f"{n} {'even' if n % 2 else 'odd'}", chance.choice(["INFO", "ERROR"]))
                for n in range(number, number + size)
            ),
        )
        number += size
        tick(clock, chance)
    logs = await found(api, limit=500)
    assert len(logs) == number
    times = sorted({item["created_at"] for item in logs})
    edges = [None, *chance.sample(times, 3), times[0], times[-1], shifted(times[0], -1)]
    for since, until in product(edges, repeat=2):
        for wanted in ({}, {"level": "ERROR"}, {"q": "even"}, {"q": "odd", "level": "ERROR"}):
            expected = [item["id"] for item in logs if belongs(item, since, until, wanted)]
            given = {"since": since, "until": until, **wanted}
            assert await walk(api, given) == expected, given


@pytest.mark.usefixtures("small_blocks")
async def test_any_range_of_timestamps_is_exact(api: Api, clock: SetClock) -> None:
    chance = random.Random(17)  # noqa: S311
    for number in range(30):
        logs = []
        for _ in range(chance.choice([1, 3, 7])):
            late = chance.choice([None, 0, 1, 60, HOUR, 400 * DAY, -DAY])
            given = {} if late is None else {"timestamp": shifted(clock.text(), -late)}
            logs.append(log(f"{number}", chance.choice(["INFO", "ERROR"]), **given))
        await send(api, *logs)
        clock.advance(chance.choice([1, 60, HOUR, -400]))
    logs = await found(api, limit=500)
    times = sorted({happened(item) for item in logs})
    edges = [None, *chance.sample(times, 2), times[0], shifted(times[0], -1)]
    stored_since = sorted(item["created_at"] for item in logs)[len(logs) // 2]
    wishes: tuple[dict[str, Any], ...] = ({}, {"level": "ERROR"}, {"since": stored_since})
    for since, until, wanted in product(edges, edges, wishes):
        expected = [
            item["id"]
            for item in logs
            if (since is None or happened(item) >= since)
            and (until is None or happened(item) <= until)
            and item["level"] == wanted.get("level", item["level"])
            and item["created_at"] >= wanted.get("since", "")
        ]
        asked = {"timestamp_since": since, "timestamp_until": until, **wanted}
        assert await walk(api, asked) == expected, asked
        ascending = {name: value for name, value in asked.items() if value is not None}
        page = await found(api, after_id=0, limit=500, **ascending)
        assert [item["id"] for item in page] == expected[::-1], asked


@pytest.mark.usefixtures("small_blocks")
async def test_logs_of_an_earlier_version_happened_when_they_were_stored(
    database_path: Path, clock: SetClock
) -> None:
    times = []
    async with open_api(database_path, clock) as api:
        for number in range(12):
            await send(api, log(f"{number}"))
            times.append(clock.text())
            clock.advance(60)
    make_runs_unindexed(database_path)
    with closing(sqlite3.connect(database_path, isolation_level=None)) as connection:
        migrate(connection)
        blocks = connection.execute("SELECT last_timestamp FROM system_log_blocks").fetchall()
    assert set(blocks) == {(None,)}
    async with open_api(database_path, clock) as api:
        await send(api, *(log("late", timestamp=times[3]) for _ in range(12)))
        asked = {"timestamp_since": times[2], "timestamp_until": times[4]}
        assert await messages(api, **asked) == [*["late"] * 12, "4", "3", "2"]
        asked["timestamp_since"] = times[11]
        del asked["timestamp_until"]
        assert await messages(api, **asked) == ["11"]


def happened(item: Json) -> str:
    return str(item["timestamp"] or item["created_at"])


async def test_since_and_until_mean_when_a_log_was_stored(api: Api, clock: SetClock) -> None:
    await send(api, log("late", timestamp="2020-01-01T00:00:00Z"), log("plain"))
    assert await messages(api, since=clock.text()) == ["plain", "late"]
    assert await messages(api, until="2020-01-02T00:00:00Z") == []
    assert await messages(api, timestamp_until="2020-01-02T00:00:00Z") == ["late"]
    assert await messages(api, timestamp_since=clock.text()) == ["plain"]


async def test_a_timestamp_may_have_any_zone_and_more_digits(api: Api) -> None:
    given = ["2026-01-31T13:00:00.123456789+01:00", "2026-01-31t12:00:00.5z", None]
    await send(api, *(log(timestamp=timestamp) for timestamp in given))
    stored = [item["timestamp"] for item in await found(api, after_id=0)]
    assert stored == ["2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.500000Z", None]


def shifted(time: str, seconds: float) -> str:
    moment = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return moment.isoformat().replace("+00:00", "Z")


def belongs(item: Json, since: str | None, until: str | None, wanted: Json) -> bool:
    return (
        (since is None or item["created_at"] >= since)
        and (until is None or item["created_at"] <= until)
        and item["level"] == wanted.get("level", item["level"])
        and ("q" not in wanted or wanted["q"] in item["message"].split())
    )


async def walk(api: Api, given: dict[str, Any]) -> list[int]:
    """The ids of all pages of a list."""
    params = {name: value for name, value in given.items() if value is not None}
    query = f"limit={9 if len(params) < 3 else 60}"
    query += "".join(f"&{name}={value}" for name, value in params.items())
    ids: list[int] = []
    cursor = ""
    while True:
        page = await api.get(f"/api/logs?{query}{cursor}")
        ids += [item["id"] for item in page["logs"]]
        if page["next_cursor"] is None:
            return ids
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.usefixtures("small_blocks")
async def test_more_ranges_than_are_looked_at_one_by_one(api: Api, clock: SetClock) -> None:
    times = spans(clock)
    for number in range(4 * log_blocks.MAX_RANGES):
        clock.now = next(times)
        await send(api, *(log(f"{number}") for _ in range(5)))
    early = await messages(api, until="2026-02-15T00:00:00Z", limit=500)
    evens = range(4 * log_blocks.MAX_RANGES - 2, -1, -2)
    assert early == [str(number) for number in evens for _ in range(5)]


def spans(clock: SetClock) -> Iterator[datetime]:
    """Times that jump forward and back by two months."""
    for number in range(1000):
        yield clock.now.replace(month=1 + number % 2 * 2)


@pytest.mark.usefixtures("small_blocks")
async def test_blocks_without_logs_are_forgotten(api: Api) -> None:
    second = await api.new_project("second")
    await send(api, *(log("goes", project_id=second) for _ in range(30)), log("stays"))
    await send(api, log("stays"))
    pool = api.service.db_manager.async_pool
    rows = await pool.fetch_all("SELECT block FROM system_log_blocks ORDER BY block")
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4, 5]
    await api.call("DELETE", f"/api/projects/{second}?purge=true", status=204)
    while await api.service.retention.remove_orphaned_logs(7):
        pass
    await send(api, *(log("stays") for _ in range(12)))
    await send(api, log("stays"))
    rows = await pool.fetch_all("SELECT block FROM system_log_blocks ORDER BY block")
    assert [row[0] for row in rows] == [6, 7]
    assert len(await messages(api, since="2026-01-01T00:00:00Z")) == 15
