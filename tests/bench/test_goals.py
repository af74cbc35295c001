"""Goals are compared with figures."""

import pytest

from bench.contestants import BY_NAME as PEERS
from bench.goals import CONNECTIONS, GOALS, SHARES, too_slow, verdicts
from bench.options import parse
from bench.results import FIELDS, LoadKey
from bench.sections import SECTIONS
from bench.verdicts import Goal, Relation, Verdict
from bench.workloads import WORKLOADS


@pytest.mark.parametrize(
    ("relation", "figure", "holds"),
    [
        (Relation.AT_LEAST, 0.55, True),
        (Relation.AT_LEAST, 0.549, False),
        (Relation.AT_MOST, 1.2, True),
        (Relation.AT_MOST, 1.201, False),
        (Relation.BELOW, 49.9, True),
        (Relation.BELOW, 50.0, False),
    ],
)
def test_a_bound_is_kept_or_not(relation: Relation, figure: float, *, holds: bool) -> None:
    bound = {Relation.AT_LEAST: 0.55, Relation.AT_MOST: 1.2, Relation.BELOW: 50.0}[relation]
    assert Verdict(Goal("a goal", "x", relation, bound), figure).met is holds


def test_a_ratio_divides_one_figure_by_the_other() -> None:
    goal = Goal("a share", "ours", Relation.AT_LEAST, 0.5, over="theirs")
    assert goal.value({"ours": 30.0, "theirs": 40.0}) == 0.75


@pytest.mark.parametrize(
    "metrics", [{}, {"ours": 1.0}, {"theirs": 1.0}, {"ours": 1.0, "theirs": 0}]
)
def test_what_was_not_measured_is_neither_met_nor_missed(metrics: dict[str, float]) -> None:
    goal = Goal("a share", "ours", Relation.AT_LEAST, 0.5, over="theirs")
    verdict = Verdict(goal, goal.value(metrics))
    assert verdict.met is None
    assert verdict.word == "not measured"


def test_every_goal_can_be_met_and_missed() -> None:
    for goal in GOALS:
        words = set()
        for figure in (goal.bound * 0.01, goal.bound * 100.0 + 1):
            metrics = {goal.figure: figure}
            if goal.over is not None:
                metrics[goal.over] = 1.0
            words.add(Verdict(goal, goal.value(metrics)).word)
        assert words == {"met", "missed"}, goal.title


def test_a_complete_run_measures_the_figures_of_every_goal() -> None:
    options = parse([])
    measured = {figure for section in SECTIONS.values() for figure in section.figures}
    for workload in options.workloads:
        for connections in options.connections_of(workload):
            for peer in options.peers:
                key = LoadKey(peer, workload.name, connections)
                measured.update(key.metric(field) for field in FIELDS)
    missing = {goal.title: set(goal.figures) - measured for goal in GOALS}
    assert not any(missing.values()), {k: v for k, v in missing.items() if v}


def test_every_section_can_be_chosen_and_names_its_figures_once() -> None:
    assert set(parse([]).only) == {*SECTIONS, *(workload.name for workload in WORKLOADS)}
    figures = [figure for section in SECTIONS.values() for figure in section.figures]
    assert len(figures) == len(set(figures))


def test_the_table_of_goals_has_each_workload_against_each_peer() -> None:
    for workload in SHARES:
        ours = f"strongroom.{workload}.{CONNECTIONS}.per_second"
        against = {goal.over for goal in GOALS if goal.figure == ours}
        assert against == {
            f"{peer}.{workload}.{CONNECTIONS}.per_second"
            for peer in PEERS
            if peer not in ("strongroom", "orm")
        }


def test_titles_of_goals_differ() -> None:
    titles = [goal.title for goal in GOALS]
    assert len(titles) == len(set(titles))


def test_goals_keep_their_order() -> None:
    assert [verdict.goal for verdict in verdicts({})] == list(GOALS)


def test_an_operation_of_fifty_milliseconds_is_too_slow() -> None:
    metrics = {"strongroom.read.64.p95": 50.0, "strongroom.list.64.p95": 49.9}
    assert too_slow(metrics) == ["read one project: P95 is 50.0 ms at 64 connections"]
    assert too_slow({"depth.million.page1000.p95": 80.0}) == [
        "page 1000 of a million runs: P95 is 80.0 ms at 64 connections"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "strongroom.read-beside.64.p95",
        "strongroom.mix-beside.64.p95",
        "strongroom.read.256.p95",
        "ordinary.read.64.p95",
    ],
)
def test_only_ordinary_operations_of_ours_at_64_connections_fail_a_run(name: str) -> None:
    assert too_slow({name: 500.0}) == []
