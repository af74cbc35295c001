"""Every statement about projects, settings, secrets and keys finds its rows through an index.

The planner has no statistics: it must choose well on the first day.
"""

import itertools
from collections import Counter
from typing import Any

import pytest

from backend.errors import ProjectExists
from backend.repositories import Repositories, part_search
from backend.repositories.project_pages import SORT_COLUMNS, ProjectFilter
from backend.repositories.schema_version import schema_version
from database.connection_manager import DatabaseManager
from models import ProjectStatus
from tests.repositories.project_keys import add_key, as_it_is
from tests.support.plans import Explaining, is_careless

MERGING = ("MERGE (UNION ALL)", "LEFT", "RIGHT")
STATUSES: list[tuple[ProjectStatus, ...]] = [
    (),
    (ProjectStatus.ACTIVE,),
    (ProjectStatus.DELETED,),
    (ProjectStatus.ACTIVE, ProjectStatus.DELETED),
    tuple(ProjectStatus),
]
SORTS = [f"{sign}{name}" for name in SORT_COLUMNS for sign in ("", "-")]


@pytest.fixture
async def explaining(repositories: Repositories, manager: DatabaseManager) -> Explaining:
    """An executor over a database with rows in every table that is queried."""
    await repositories.keys.add_canary("master", "canary")
    for number in range(6):
        project = await repositories.projects.create(
            {"name": f"P{number}", "github_owner": f"o{number % 3}", "github_repo": f"r{number}"}
        )
        await repositories.settings.create({"project_id": project.id})
        key = await add_key(repositories, project.id, "master")
        for name in ("A", "B"):
            await repositories.secrets.add(
                project.id, name, project_key_id=key, ciphertext="sealed"
            )
    await repositories.projects.soft_delete(6)
    return Explaining(manager.async_pool)


def careless(explaining: Explaining) -> list[str]:
    """The steps that read unnecessary rows, or sort."""
    steps = explaining.steps()
    assert steps
    return [step for step in steps if is_careless(step)]


async def test_no_statement_about_one_thing_scans_or_sorts(
    repositories: Repositories, explaining: Explaining
) -> None:
    bound = repositories.using(explaining)
    projects, settings, secrets, keys = bound.projects, bound.settings, bound.secrets, bound.keys
    await projects.get_by_id(1)
    await projects.exists(1)
    await projects.get_by_github_repo("o", "r")
    await projects.update(1, {"name": "x", "github_owner": "y"})
    await projects.update(1, {"status": "inactive"})
    await projects.update_webhook_url(1, None)
    await projects.soft_delete(1)
    await projects.restore(1)
    await projects.soft_delete(2)
    taken = {"name": "x", "github_owner": "o1", "github_repo": "r1"}
    await projects.create(taken)
    with pytest.raises(ProjectExists):
        await projects.create(taken)
    with pytest.raises(ProjectExists):
        await projects.restore(2)
    with pytest.raises(ProjectExists):
        await projects.update(3, taken)
    await settings.get_by_project_id(1)
    await settings.upsert(1, {"branch_name": "b"})
    await secrets.get(1, "A")
    await projects.is_live(1)
    await secrets.rows_of(1, ["A", "B", "C"])
    await secrets.all_of(1)
    await secrets.page(1, as_it_is, limit=1, after=None)
    await secrets.page(1, as_it_is, limit=1, after=(2,))
    await secrets.replace(1, version=2, project_key_id=1, ciphertext="new")
    # Both secrets are under other keys than before, so both statements run.
    for key_id in (2, 1):
        present = await secrets.rows_of(1, ["A", "B"])
        await secrets.replace_all([(row, key_id, "newer") for row in present.values()])
    await secrets.remove(1, "A")
    await keys.current_project_key(1)
    await keys.of_live_projects([1])
    await keys.of_live_projects([1, 2, 3])
    await keys.project_keys_of(1)
    await keys.project_keys_after(0, 5)
    await keys.set_wrapped(1, "master", "wrapped")
    await keys.installation()
    await projects.purge(1)
    assert careless(explaining) == []


async def test_the_newest_rows_come_from_the_end_of_the_table(
    repositories: Repositories, explaining: Explaining
) -> None:
    projects = repositories.using(explaining).projects
    await projects.list(5, before_id=9)
    assert careless(explaining) == []
    # Reads the table from its end, and only as many rows as the page has.
    await projects.list(5)
    assert careless(explaining) == ["SCAN projects"]


@pytest.mark.parametrize("sort", SORTS)
async def test_every_list_is_read_in_its_order(
    repositories: Repositories, explaining: Explaining, sort: str
) -> None:
    projects = repositories.using(explaining).projects
    position = ("o1", 5) if "name" in sort else ("2026-01-31T12:00:00.000000Z", 5)
    for statuses, owner, after in itertools.product(STATUSES, (None, "o1"), (None, position)):
        filter = ProjectFilter(statuses=statuses, owner=owner)
        await projects.page(filter, sort=sort, limit=5, after=after)
        found = careless(explaining)
        if not statuses and owner is None and after is None:
            # The first page of the unfiltered list is the end of the list's index, as far as the
            # page needs.
            assert [step.partition(" USING ")[0] for step in found] == ["SCAN projects"]
            assert "USING INDEX projects_by_" in found[0]
        else:
            assert found == [], filter


@pytest.mark.parametrize("sort", SORTS)
async def test_a_page_with_runs_is_one_statement_that_looks_each_row_up(
    repositories: Repositories, explaining: Explaining, sort: str
) -> None:
    projects = repositories.using(explaining).projects
    page: dict[str, Any] = {"sort": sort, "limit": 5, "after": None}
    for filter in (
        ProjectFilter(),
        ProjectFilter(statuses=(ProjectStatus.ACTIVE, ProjectStatus.DELETED)),
        ProjectFilter(owner="o1"),
        ProjectFilter(ids=(1, 2)),
    ):
        await projects.json_page(filter, **page)
        [(_, without)] = explaining.plans
        explaining.plans.clear()
        await projects.json_page(filter, **page, with_runs=True)
        [(_, plan)] = explaining.plans
        explaining.plans.clear()
        added = list((Counter(plan) - Counter(without)).elements())
        assert Counter(without) <= Counter(plan)
        by_status = "SEARCH a USING COVERING INDEX agent_runs_project_status"
        assert set(added) == {
            "SEARCH q USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
            "SEARCH r USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
            f"{by_status} (project_id=? AND status=?)",
            *(step for step in added if step.startswith("CORRELATED SCALAR SUBQUERY")),
        }


async def test_an_owner_s_projects_of_one_status_are_found_by_both(
    repositories: Repositories, explaining: Explaining
) -> None:
    projects = repositories.using(explaining).projects
    filter = ProjectFilter(statuses=(ProjectStatus.ARCHIVED,), owner="o1")
    await projects.page(filter, sort="name", limit=5, after=None)
    assert explaining.steps() == [
        "SEARCH projects USING INDEX projects_owner_by_name (owner_key=? AND status=?)"
    ]


async def test_active_projects_are_read_in_their_order(
    repositories: Repositories, explaining: Explaining
) -> None:
    await repositories.using(explaining).projects.list_active_projects()
    assert careless(explaining) == []


STATE = {
    "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)",
    "SCALAR SUBQUERY 1",
    # The greatest id is the last row of the table.
    "SEARCH projects",
}
"""How far the index has got."""


def virtual(step: str) -> bool:
    """Whether a step asks the index, which has a plan of its own."""
    return " VIRTUAL TABLE INDEX " in step


async def searching(
    repositories: Repositories, explaining: Explaining, filter: ProjectFilter, sort: str
) -> list[list[str]]:
    """The plans of the statements of a search, except for the first, which reads the state."""
    projects = repositories.using(explaining).projects
    explaining.plans.clear()
    for after in (None, ("o1" if "name" in sort else "2026-01-31T12:00:00.000000Z", 5)):
        await projects.page(filter, sort=sort, limit=5, after=after)
    plans = [plan for _, plan in explaining.plans]
    states = [plan for plan in plans if set(plan) == STATE]
    assert len(states) == 2
    return [plan for plan in plans if plan not in states]


@pytest.fixture
async def indexed(repositories: Repositories, explaining: Explaining) -> Repositories:
    """The repositories, with four of six projects indexed."""
    await repositories.using(explaining).project_index.index_next(4, 10_000)
    assert careless(explaining) == []
    return repositories


@pytest.mark.parametrize("sort", SORTS)
async def test_a_search_for_what_few_have_reads_those_and_what_is_not_indexed(
    indexed: Repositories, explaining: Explaining, sort: str
) -> None:
    for statuses, owner, text in itertools.product(STATUSES, (None, "o1"), ("p", "o1", "o1/r")):
        filter = ProjectFilter(statuses=statuses, owner=owner, text=text)
        plans = await searching(indexed, explaining, filter, sort)
        for plan in plans[1::2]:
            own = [step for step in plan if not virtual(step)]
            assert own == [
                "MATERIALIZE found",
                "COMPOUND QUERY",
                "LEFT-MOST SUBQUERY",
                "UNION USING TEMP B-TREE",
                "SEARCH projects USING INTEGER PRIMARY KEY (rowid>?)",
                "SCAN found",
                "SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)",
                "USE TEMP B-TREE FOR ORDER BY",
            ]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so small that everything is common."""
    for name in ("FEW_ROWS", "FEW_OF_SHORT_PART", "SOME_ROWS"):
        monkeypatch.setattr(part_search, name, 1)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
async def test_what_many_have_is_read_in_the_order_of_ids_as_far_as_the_page_needs(
    indexed: Repositories, explaining: Explaining, sort: str
) -> None:
    plans = await searching(indexed, explaining, ProjectFilter(text="o1/r"), sort)
    for plan in plans[1::2]:
        own = [step for step in plan if not virtual(step)]
        assert own == [
            "MERGE (UNION ALL)",
            "LEFT",
            "CO-ROUTINE part0",
            "SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)",
            "SCAN part0",
            # At most one page of rows.
            "USE TEMP B-TREE FOR ORDER BY",
            "RIGHT",
            "CO-ROUTINE part1",
            "SEARCH projects USING INTEGER PRIMARY KEY (rowid>?)",
            "USE TEMP B-TREE FOR ORDER BY",
            "SCAN part1",
            "USE TEMP B-TREE FOR ORDER BY",
        ]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("sort", SORTS)
async def test_a_search_walks_its_list_in_order_until_the_page_is_full(
    indexed: Repositories, explaining: Explaining, sort: str
) -> None:
    for statuses, owner, text in itertools.product(STATUSES, (None, "o1"), ("p", "o1/r")):
        in_order_of_ids = sort.endswith("created_at")
        if len(text) > 2 and not (in_order_of_ids and (statuses or owner is not None)):
            continue
        filter = ProjectFilter(statuses=statuses, owner=owner, text=text)
        plans = await searching(indexed, explaining, filter, sort)
        walks = [plan for plan in plans if not any(map(virtual, plan)) and "SCAN found" not in plan]
        assert len(walks) >= 4
        for plan in walks:
            for step in plan:
                if step in MERGING:
                    continue
                # It walks the list's index, without a sort, from the page's beginning to the last
                # row that it may read.
                assert " INDEX projects_" in step
                assert "TEMP B-TREE" not in step


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("sort", [sort for sort in SORTS if not sort.endswith("created_at")])
async def test_a_list_is_looked_up_in_the_candidates_in_its_order(
    indexed: Repositories, explaining: Explaining, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    for name in ("ENTRY_COST", "CANDIDATE_COST"):
        monkeypatch.setattr(part_search, name, 0)
    for statuses, owner in itertools.product(STATUSES, (None, "o1")):
        filter = ProjectFilter(statuses=statuses, owner=owner, text="o1/r")
        plans = await searching(indexed, explaining, filter, sort)
        looked_up = [plan for plan in plans if any("LIST SUBQUERY" in step for step in plan)]
        assert len(looked_up) >= 2
        for plan in looked_up:
            for step in plan:
                if step in MERGING or virtual(step) or "SUBQUERY" in step:
                    continue
                # The list's index, without a sort, whatever the number of candidates.
                assert " INDEX projects_" in step
                assert "TEMP B-TREE" not in step


async def test_the_index_follows_without_a_scan(
    indexed: Repositories, explaining: Explaining
) -> None:
    index = indexed.using(explaining).project_index
    await index.index_next(5, 10_000)
    await indexed.using(explaining).projects.update(1, {"name": "x", "github_owner": "y"})
    await indexed.using(explaining).projects.purge(2)
    await index.tidied(1)
    assert careless(explaining) == []


async def test_a_token_for_few_projects_reads_no_others(
    repositories: Repositories, explaining: Explaining
) -> None:
    projects = repositories.using(explaining).projects
    for statuses, owner, text in itertools.product(STATUSES, (None, "o1"), (None, "p")):
        filter = ProjectFilter(statuses=statuses, owner=owner, text=text, ids=(1, 2, 3))
        await projects.page(filter, sort="name", limit=5, after=None)
        # Only those few rows are sorted.
        assert explaining.steps() == [
            "MATERIALIZE own",
            "SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)",
            "SCAN own",
            "USE TEMP B-TREE FOR ORDER BY",
        ]


async def test_counting_is_all_that_reads_everything(
    repositories: Repositories, explaining: Explaining
) -> None:
    bound = repositories.using(explaining)
    await bound.projects.count()
    assert all("COVERING INDEX" in step for step in careless(explaining))
    # One row for each master key, of which there are few.
    await bound.keys.canaries()
    await schema_version(explaining)
    assert {step.partition(" USING ")[0] for step in careless(explaining)} <= {
        "SCAN master_keys",
        "SCAN schema_migrations",
    }
