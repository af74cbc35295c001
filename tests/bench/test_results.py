"""Medians over the rounds, and a run's figures written to a file and read back."""

from dataclasses import replace
from pathlib import Path

from bench.results import LoadKey, Results, Sample

SAMPLE = Sample(
    per_second=100.0,
    p50=1.0,
    p95=2.0,
    p99=3.0,
    longest=4.0,
    cpu_seconds=0.5,
    cpu_us=500.0,
    peak_mib=64.0,
)
KEY = LoadKey("strongroom", "read", 64)


def test_each_figure_has_a_median_of_its_own() -> None:
    results = Results()
    for per_second, p99 in ((90.0, 30.0), (100.0, 10.0), (500.0, 20.0)):
        results.add(KEY, replace(SAMPLE, per_second=per_second, p99=p99))
    median = results.median(KEY)
    assert median == replace(SAMPLE, per_second=100.0, p99=20.0)
    assert results.rounds == 3


def test_a_load_that_was_not_measured_has_no_median() -> None:
    assert Results().median(KEY) is None
    assert Results().rounds == 0


def test_every_figure_has_a_name() -> None:
    results = Results(figures={"engine.write.engine": [1.0, 9.0, 3.0]})
    results.add(KEY, SAMPLE)
    metrics = results.metrics()
    assert metrics["engine.write.engine"] == 3.0
    assert metrics["strongroom.read.64.per_second"] == 100.0
    assert metrics["strongroom.read.64.p95"] == 2.0


def test_the_same_is_noted_once() -> None:
    results = Results()
    results.note("npm not found")
    results.note("npm not found")
    assert results.notes == ["npm not found"]


def test_what_is_saved_can_be_read_back(tmp_path: Path) -> None:
    results = Results(
        command="make bench",
        started="2026-01-31T12:00:00+00:00",
        machine={"cores": "2"},
        versions={"wrk": "4.1.0"},
        figures={"depth.million.page1.p99": [1.5, 2.5]},
        parts={"read one project": {"routing": 8.25}},
        notes=["a note"],
        failures=["a failure"],
    )
    results.add(KEY, SAMPLE)
    results.add(KEY, replace(SAMPLE, p50=7.125))
    path = tmp_path / "performance.json"
    results.save(path)
    assert Results.read(path) == results
