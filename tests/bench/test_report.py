"""The report of a run, and the options that decide where it goes."""

import pytest

from bench import options, report, tables, workloads
from bench.results import LoadKey, Results, Sample


def _results() -> Results:
    results = Results(command="make bench", machine={"cores": "2"})
    for peer, rate in (("ceiling", 8000.0), ("strongroom", 4800.0)):
        sample = Sample(rate, 1.0, 2.0, 3.0, 4.0, 0.5, 104.0, 64.0)
        results.add(LoadKey(peer, "read", 64), sample)
    results.parts = {
        "read": {"routing": 8.0, "rest": 1.0, "whole, alone": 9.0},
        "create": {"routing": 8.0, "rest": 1.0, "whole, alone": 9.0, "COMMIT": 70.0},
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
    assert [row[0] for row in rows] == ["routing", "COMMIT", "rest", "whole, alone"]
    assert rows[1] == ("COMMIT", "-", "70")


def test_the_page_has_every_figure_and_no_mark_left() -> None:
    page = report.as_markdown(_results())
    assert "{{" not in page
    assert "| Strongroom | 4,800 | 0.60 |" in page
    assert "| read: share of the ceiling | ≥ 0.55 x | 0.60 x | met |" in page
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
        ["--rounds", "4"],
    ):
        assert not options.parse(left_out).is_complete, left_out


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
