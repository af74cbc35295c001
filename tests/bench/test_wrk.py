"""What is read from wrk's output and from /proc."""

import os

import pytest

from bench.processes import BenchError, parse_cpu_seconds, parse_memory_mib
from bench.wrk import parse

OUTPUT = """Running 4s test @ http://127.0.0.1:41235
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    23.34ms   12.10ms 852.75ms   98.10%
    Req/Sec     1.58k   120.00     1.70k    75.00%
  6336 requests in 4.00s, 2.10MB read
Requests/sec:   1583.21
Transfer/sec:    537.60KB
bench requests=6336 duration=4002001 bytes=2202010 connect=0 read=0 write=0 status={status} \
timeout={timeout} p50=23340 p95=650740 p99=852750 p999=899001 max=900001
"""


def test_a_load_is_read_in_milliseconds_and_seconds() -> None:
    load = parse(OUTPUT.format(status=0, timeout=0))
    assert load.requests == 6336
    assert load.seconds == pytest.approx(4.002001)
    assert (load.p50, load.p95, load.p99) == (23.34, 650.74, 852.75)
    assert (load.p999, load.longest) == (899.001, 900.001)
    assert load.per_second == pytest.approx(6336 / 4.002001)
    assert load.errors == {}


def test_errors_are_kept_by_kind() -> None:
    assert parse(OUTPUT.format(status=7, timeout=2)).errors == {"status": 7, "timeout": 2}


def test_a_load_that_took_no_time_has_no_rate() -> None:
    empty = "bench requests=0 duration=0 bytes=0 connect=9 read=0 write=0 status=0 timeout=0"
    load = parse(f"{empty} p50=0 p95=0 p99=0 p999=0 max=0\n")
    assert load.per_second == 0.0
    assert load.errors == {"connect": 9}


@pytest.mark.parametrize(
    ("output", "said"), [("", "it said nothing"), ("unable to connect\n", "unable to connect")]
)
def test_output_without_figures_is_told_with_its_last_line(output: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        parse(output)


def test_processor_time_is_found_behind_any_process_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *["0"] * 10, str(3 * ticks), str(2 * ticks), "0"]
    assert parse_cpu_seconds(f"17 (a (strange) name) {' '.join(fields)}") == 5.0


def test_a_size_is_read_in_mebibytes() -> None:
    status = "Name:\tpython\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n"
    assert parse_memory_mib(status, "VmHWM") == 20.0
    assert parse_memory_mib(status, "VmRSS") == 10.0
    with pytest.raises(KeyError):
        parse_memory_mib(status, "VmSwap")
