"""The report of a run, and the options that decide where it goes."""

import pytest

from bench import figures, options, report, tables, workloads
from bench.contestants import CONTESTANTS
from bench.costs.table import REST, WHOLE, WITH_PROBES
from bench.plot import COLOURS
from bench.results import LoadKey, Results, Sample
from bench.sections import SECTIONS


def _results() -> Results:
    results = Results(command="make bench", machine={"cores": "2"})
    for peer, rate in (("ceiling", 8000.0), ("strongroom", 4800.0)):
        sample = Sample(rate, 1.0, 2.0, 3.0, 4.0, 0.5, 104.0, 64.0)
        results.add(LoadKey(peer, "read", 64), sample)
    results.parts = {
        "read": {"edge": 8.0, REST: 1.0, WHOLE: 9.0, WITH_PROBES: 12.0},
        "create": {"edge": 8.0, REST: 1.0, WHOLE: 79.0, WITH_PROBES: 99.0, "record": 70.0},
    }
    return results


def test_a_table_names_shares_of_the_ceiling() -> None:
    rows = tables.load_rows(_results(), workloads.WORKLOADS[0], 64)
    assert [row[:3] for row in rows] == [
        ("FastAPI, constants, no database (the ceiling)", "8,000", "1.00"),
        ("Strongroom", "4,800", "0.60"),
    ]


def test_the_sums_of_the_parts_come_last() -> None:
    _, rows = tables.part_table(_results())
    assert [row[0] for row in rows] == ["edge", "record", REST, WHOLE, WITH_PROBES]
    assert rows[1] == ("record", "-", "70.0")


def test_the_page_has_every_figure_and_no_mark_left() -> None:
    page = report.as_markdown(_results())
    assert "{{" not in page
    assert "| Strongroom | 4,800 | 0.60 |" in page
    assert "| read: share of the ceiling | ≥ 1.9 x | 0.60 x | missed |" in page
    assert "not measured" in page


def test_the_terminal_gets_the_same() -> None:
    text = report.as_text(_results())
    assert "read one project, 64 connections" in text
    assert "████" in text


def test_the_longest_bar_is_the_fastest_server() -> None:
    lines = tables.bars(_results()).splitlines()
    assert lines[1].count("█") == tables.BAR
    assert lines[2].count("█") == round(tables.BAR * 0.6)


@pytest.mark.parametrize(
    ("value", "shown"), [(12345.6, "12,346"), (99.94, "99.9"), (9.876, "9.88"), (0.0, "0.00")]
)
def test_a_figure_has_the_digits_that_mean_something(value: float, shown: str) -> None:
    assert tables.number(value) == shown


def test_only_a_run_that_leaves_nothing_out_speaks_in_the_documents() -> None:
    assert options.parse([]).is_complete
    for left_out in (
        ["--quick"],
        ["--only", "read"],
        ["--peers", "strongroom,ceiling"],
        ["--connections", "64"],
        ["--rounds", "2"],
    ):
        assert not options.parse(left_out).is_complete, left_out


def test_large_bounds_are_read_in_thousands() -> None:
    results = Results(figures={"bulk.logs.rows_per_second": [41234.5]})
    rows = {row[0]: row[1:] for row in tables.goal_rows(results)}
    assert rows["logs, a thousand in each request"] == ("≥ 40,000 rows/s", "41,234 rows/s", "met")


def test_titles_of_figures_differ_and_belong_to_a_section() -> None:
    assert len(set(figures.TITLES.values())) == len(figures.TITLES)
    measured = {figure for section in SECTIONS.values() for figure in section.figures}
    of_loads = {f"slow_query.{contestant.name}.ms" for contestant in CONTESTANTS}
    assert set(figures.TITLES) <= measured | of_loads


def test_every_server_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == len(CONTESTANTS)


def test_only_the_first_round_measures_other_numbers_of_connections() -> None:
    chosen = options.parse(["--only", "read"])
    (read,) = chosen.workloads
    assert chosen.connections_in(0, read) == (1, 16, 64, 256)
    assert chosen.connections_in(1, read) == (64,)
    without = options.parse(["--only", "read", "--connections", "1,16"])
    assert without.connections_in(1, read) == (1, 16)


def test_options_choose_workloads_and_connections() -> None:
    chosen = options.parse(["--only", "read,read-beside,engine", "--connections", "1,64"])
    read, beside = chosen.workloads
    assert (read.name, beside.name) == ("read", "read-beside")
    assert chosen.connections_of(read) == (1, 64)
    assert chosen.connections_of(beside) == (64,)


@pytest.mark.parametrize(
    "arguments", [["--only", "raed"], ["--peers", ""], ["--connections", "64,x"], ["--onl", "read"]]
)
def test_wrong_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        options.parse(arguments)
    assert refused.value.code == 2
    assert arguments[0] in capsys.readouterr().err
