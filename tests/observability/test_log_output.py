"""Lines to a pipe with a reader, with a reader that does not read, or without a reader."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.observability.log import add_tap, remove_tap
from backend.observability.log_output import LineStream, LogOutput, drain_outputs, dropped_lines

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
ENOUGH = 200_000
"""More lines than any pipe has room for."""


class Pipe:
    """A pipe whose writing end is an output."""

    def __init__(
        self, name: str = "the pipe", *, limit: int = 1_000_000, has_log: bool = True
    ) -> None:
        self.read_end, self.write_end = os.pipe()
        self.output = LogOutput(self.write_end, name, has_log=has_log, limit=limit)
        self.output.start()
        self.is_closed = False

    def offer(self, number: int, begin: int = 0) -> None:
        """Offer `number` numbered lines."""
        for count in range(begin, begin + number):
            self.output.offer([b"line %d\n" % count])

    def fill(self) -> None:
        """Fill the pipe, so that offered lines wait until something is read."""
        os.set_blocking(self.write_end, False)
        with suppress(BlockingIOError):
            while os.write(self.write_end, b"\n" * 4096):
                pass
        with suppress(BlockingIOError):
            while os.write(self.write_end, b"\n"):
                pass
        os.set_blocking(self.write_end, True)

    def reader(self) -> "Reader":
        """Begin to read."""
        return Reader(self)

    def close(self) -> bool:
        """Close the output. Returns whether all lines were written."""
        self.is_closed = True
        return self.output.close()


class Reader:
    """Reads a pipe to its end, in a thread."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._read = bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while some := os.read(self._pipe.read_end, 65536):
            self._read += some

    def lines(self) -> list[str]:
        """Close the writing end, and return everything that was read."""
        os.close(self._pipe.write_end)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self._read.decode().splitlines()


@pytest.fixture
def pipes() -> Iterator[Callable[..., Pipe]]:
    """Makes pipes, which are closed after the test."""
    made: list[Pipe] = []

    def make(**options: Any) -> Pipe:
        made.append(Pipe(**options))
        return made[-1]

    yield make
    for pipe in made:
        # The output's thread ends once the pipe has no reader; only then may its descriptor be
        # reused.
        with suppress(OSError):
            os.close(pipe.read_end)
        if not pipe.is_closed:
            pipe.output.close()
        pipe.output._thread.join(PATIENCE)
        with suppress(OSError):
            os.close(pipe.write_end)
    assert dropped_lines() == 0


@pytest.fixture
def told() -> Iterator[list[Mapping[str, Any]]]:
    """The warnings that the output logs during the test."""
    lines: list[Mapping[str, Any]] = []

    def tap(line: Mapping[str, Any]) -> None:
        if line["logger"] == "strongroom.log":
            lines.append(dict(line))

    add_tap(tap)
    yield lines
    remove_tap(tap)


def _numbers(lines: list[str]) -> list[int]:
    return [int(line.removeprefix("line ")) for line in lines if line.startswith("line ")]


def test_what_is_read_comes_whole_and_in_order(pipes: Callable[..., Pipe]) -> None:
    pipe = pipes(limit=10_000_000)
    reader = pipe.reader()
    pipe.offer(ENOUGH)
    assert pipe.close()
    assert _numbers(reader.lines()) == list(range(ENOUGH))
    assert pipe.output.dropped == 0


def test_a_pipe_without_reads_blocks_no_caller_and_drops_are_counted(
    pipes: Callable[..., Pipe],
) -> None:
    pipe = pipes(limit=100_000)
    pipe.offer(ENOUGH)
    assert pipe.output.dropped > ENOUGH // 2
    assert dropped_lines() == pipe.output.dropped
    assert not pipe.close()


def test_what_was_dropped_is_told_once_somebody_reads(
    pipes: Callable[..., Pipe], told: list[Mapping[str, Any]]
) -> None:
    # The thread of another test's pipe may still log its own warning.
    pipe = pipes(name="this pipe", limit=100_000)

    def lines() -> list[int]:
        return [line["lines"] for line in told if line["output"] == "this pipe"]

    pipe.fill()
    pipe.offer(ENOUGH)
    dropped = pipe.output.dropped
    assert lines() == []
    reader = pipe.reader()
    assert pipe.output.drain()
    assert lines() == [dropped]
    pipe.offer(10, begin=ENOUGH)
    assert pipe.close()
    numbers = _numbers(reader.lines())
    assert numbers[-10:] == list(range(ENOUGH, ENOUGH + 10))
    assert len(numbers) == ENOUGH + 10 - dropped
    assert numbers == sorted(numbers)
    assert len(lines()) == 1


def test_a_reader_that_is_gone_costs_the_lines_and_no_more(
    pipes: Callable[..., Pipe], told: list[Mapping[str, Any]]
) -> None:
    pipe = pipes()
    os.close(pipe.read_end)
    for _ in range(3):
        pipe.offer(100)
        assert pipe.output.drain()
    # A warning would be one more line that is never read.
    assert pipe.output.dropped == 300
    assert told == []


def test_lost_lines_that_are_no_log_are_told_in_the_log(
    pipes: Callable[..., Pipe], told: list[Mapping[str, Any]]
) -> None:
    pipe = pipes(has_log=False)
    os.close(pipe.read_end)
    pipe.offer(7)
    assert pipe.output.drain()
    assert pipe.close()
    assert sum(line["lines"] for line in told) == 7


def test_a_pipe_that_refuses_in_the_place_of_waiting_gets_all(pipes: Callable[..., Pipe]) -> None:
    pipe = pipes(limit=10_000_000)
    os.set_blocking(pipe.write_end, False)
    pipe.offer(ENOUGH)
    reader = pipe.reader()
    assert pipe.close()
    assert _numbers(reader.lines()) == list(range(ENOUGH))


def test_lines_of_many_threads_stay_whole(pipes: Callable[..., Pipe]) -> None:
    pipe = pipes(limit=10_000_000)
    reader = pipe.reader()
    begins = range(0, 40_000, 10_000)
    threads = [threading.Thread(target=pipe.offer, args=(10_000, begin)) for begin in begins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipe.close()
    numbers = _numbers(reader.lines())
    assert sorted(numbers) == list(range(40_000))
    for begin in begins:
        own = [number for number in numbers if begin <= number < begin + 10_000]
        assert own == sorted(own)


def test_a_line_after_the_end_is_written_at_once(pipes: Callable[..., Pipe]) -> None:
    pipe = pipes()
    reader = pipe.reader()
    assert pipe.close()
    pipe.offer(1)
    assert _numbers(reader.lines()) == [0]


def test_a_stream_gives_whole_lines_to_its_output(pipes: Callable[..., Pipe]) -> None:
    pipe = pipes()
    reader = pipe.reader()
    stream = LineStream(pipe.output, pipe.write_end, "ascii")
    print("one", "two", file=stream)
    stream.write("thr")
    stream.write("ee\nZ\u00fcrich \ud800\nrest")
    stream.flush()
    assert (stream.fileno(), stream.isatty(), stream.encoding) == (pipe.write_end, False, "ascii")
    assert pipe.close()
    assert reader.lines() == ["one two", "three", "Z\\xfcrich \\ud800"]


ENDING = """
import os
from backend.observability.log import configure_logging, get_logger
from backend.observability.log_output import LineStream, LogOutput, drain_outputs
output = LogOutput(2, "standard error", has_log=True)
output.start()
configure_logging("INFO", "json", LineStream(output, 2, "utf-8"))
get_logger("test").critical("the last line")
drain_outputs()
os._exit(1)
"""


def test_the_last_line_before_an_end_at_once_is_written() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert b"the last line" in done.stderr


def test_draining_waits_for_every_output_there_is(pipes: Callable[..., Pipe]) -> None:
    pipe, other = pipes(), pipes()
    readers = pipe.reader(), other.reader()
    pipe.offer(1)
    other.offer(2)
    drain_outputs()
    assert pipe.close()
    assert other.close()
    assert [_numbers(reader.lines()) for reader in readers] == [[0], [0, 1]]


async def test_dropped_lines_are_a_metric(
    client: httpx.AsyncClient, pipes: Callable[..., Pipe]
) -> None:
    assert "strongroom_log_lines_dropped_total 0.0\n" in (await client.get("/metrics")).text
    pipe = pipes(limit=0)
    pipe.offer(3)
    assert "strongroom_log_lines_dropped_total 3.0\n" in (await client.get("/metrics")).text
