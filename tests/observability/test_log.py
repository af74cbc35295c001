"""Log lines as their readers see them: one record per line, with its context, and without
secrets."""

import asyncio
import contextvars
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from backend.crypto.keyring import KeyConfigurationError
from backend.observability.log import configure_logging, get_logger, log_access
from backend.observability.request_ids import enter_request, leave_request

SECRET = "hunter2"
"""Tests use this name, because a traceback shows the source lines."""

log = get_logger("strongroom.test")
"""Created before logging is configured, like the logger of every module."""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Restores the process's logging, which all tests share."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").propagate = True
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream() -> io.StringIO:
    target = io.StringIO()
    configure_logging("INFO", "json", target)
    return target


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = _lines(stream)
    return line


def test_a_line_is_one_json_object_with_time_level_logger_and_event(stream: io.StringIO) -> None:
    log.info("request", method="GET", status=200, duration_ms=1.5)
    line = _line(stream)
    time = line.pop("timestamp")
    assert len(time) == len("2030-12-31T23:59:59.123456Z")
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "logger": "strongroom.test",
        "event": "request",
        "method": "GET",
        "status": 200,
        "duration_ms": 1.5,
    }


def test_the_request_id_is_in_every_line_of_every_logger(stream: io.StringIO) -> None:
    token = enter_request("r-1")
    log.info("ours")
    logging.getLogger("somebody.else").warning("theirs")
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(log.info, "from a thread"))
    thread.start()
    thread.join()
    leave_request(token)
    log.info("outside")
    assert "request_id" not in _lines(stream)[-1]
    assert [(line["event"], line["request_id"]) for line in _lines(stream)[:-1]] == [
        ("ours", "r-1"),
        ("theirs", "r-1"),
        ("from a thread", "r-1"),
    ]


async def test_requests_side_by_side_keep_their_own_ids(stream: io.StringIO) -> None:
    async def request(name: str) -> None:
        enter_request(name)
        await asyncio.sleep(0)
        log.info(name)

    await asyncio.gather(*(request(f"r{number}") for number in range(20)))
    lines = _lines(stream)
    assert len(lines) == 20
    assert all(line["request_id"] == line["event"] for line in lines)


def test_the_line_of_a_request_is_as_any_other_line(stream: io.StringIO) -> None:
    token = enter_request("r-1")
    log_access("r-1", "GET", "/api/projects/{project_id}", 200, 0.00123456)
    structlog.get_logger("strongroom.access").info(
        "request", method="GET", route="/api/projects/{project_id}", status=200, duration_ms=1.235
    )
    leave_request(token)
    fast, ordinary = (list(line.items()) for line in _lines(stream))
    assert fast[0][0] == ordinary[0][0] == "timestamp"
    assert fast[1:] == ordinary[1:]


def test_the_line_of_a_request_goes_where_and_how_all_lines_go(stream: io.StringIO) -> None:
    console = io.StringIO()
    configure_logging("INFO", "console", console)
    log_access("r-1", "GET", "/health", 200, 0.001)
    assert "request_id=r-1" in console.getvalue()
    assert "status=200" in console.getvalue()
    configure_logging("WARNING", "json", stream)
    log_access("r-1", "GET", "/health", 200, 0.001)
    assert stream.getvalue() == ""
    configure_logging("INFO", "json", _Broken())
    log_access("r-1", "GET", "/health", 200, 0.001)


def test_without_any_configuration_warnings_go_to_standard_error_alone() -> None:
    code = "from backend.observability.log import get_logger as g; x = g('x')"
    code += "; x.info('quiet'); x.warning('loud')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "loud" in done.stderr
    assert "quiet" not in done.stderr


def test_the_level_holds_for_loggers_made_earlier(stream: io.StringIO) -> None:
    log.debug("no")
    configure_logging("DEBUG", "json", stream)
    log.debug("yes")
    configure_logging("ERROR", "json", stream)
    log.warning("no")
    logging.getLogger("somebody.else").warning("no")
    log.error("yes")
    assert [(line["event"], line["level"]) for line in _lines(stream)] == [
        ("yes", "debug"),
        ("yes", "error"),
    ]


def test_configuring_again_writes_no_line_twice(stream: io.StringIO) -> None:
    configure_logging("INFO", "json", stream)
    logging.getLogger("somebody.else").warning("once")
    assert len(_lines(stream)) == 1


def test_an_exception_shows_frames_and_types_and_no_variable(stream: io.StringIO) -> None:
    def fails(password: str) -> None:
        held = password * 2
        try:
            int(held)
        except ValueError as error:
            raise RuntimeError("the number is wrong") from error

    try:
        fails(SECRET)
    except RuntimeError:
        log.exception("failed")
    line = _line(stream)
    assert line["level"] == "error"
    text = line["exception"]
    assert "in fails" in text
    assert "ValueError\n" in text
    assert "direct cause of the following" in text
    assert text.endswith("RuntimeError: the number is wrong")
    assert SECRET not in stream.getvalue()


def test_an_exception_that_repeats_its_input_is_shown_without_message(stream: io.StringIO) -> None:
    class Model(BaseModel):
        number: int

    nothing: dict[str, str] = {}

    def attempts() -> Iterator[BaseException]:
        for attempt in (
            lambda: Model.model_validate({"number": SECRET}),
            lambda: nothing[SECRET],
            f"{SECRET}\udc80".encode,
        ):
            try:
                attempt()
            except Exception as error:  # noqa: BLE001 - any exception is logged
                yield error

    errors = list(attempts())
    assert len(errors) == 3
    for error in errors:
        log.error("failed", exc_info=error)
    log.error("failed", exc_info=ExceptionGroup("several", errors))
    lines = _lines(stream)
    assert [line["exception"].rpartition("\n")[2].strip() for line in lines[:3]] == [
        "pydantic_core._pydantic_core.ValidationError",
        "KeyError",
        "UnicodeEncodeError",
    ]
    assert "ExceptionGroup: several (3 sub-exceptions)" in lines[3]["exception"]
    assert lines[3]["exception"].count("Traceback") == 3
    assert SECRET not in stream.getvalue()


def test_a_chain_that_closes_on_itself_ends(stream: io.StringIO) -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    log.error("failed", exc_info=first)
    assert _line(stream)["exception"].count("RuntimeError: second") == 1


def test_where_nothing_was_raised_no_exception_is_shown(stream: io.StringIO) -> None:
    log.error("failed", exc_info=True)  # noqa: LOG014
    logging.getLogger("somebody.else").error("failed", exc_info=True)  # noqa: LOG014
    assert ["exception" in line for line in _lines(stream)] == [False, False]


def test_our_own_errors_keep_their_message_whatever_their_base(stream: io.StringIO) -> None:
    log.error("failed", exc_info=KeyConfigurationError("there is no master key"))
    assert _line(stream)["exception"].endswith("KeyConfigurationError: there is no master key")


def test_a_member_of_a_group_that_is_its_cause_too_is_shown_once(stream: io.StringIO) -> None:
    member = RuntimeError("the member")
    group = ExceptionGroup("several", [member])
    group.__cause__ = member
    log.error("failed", exc_info=group)
    assert _line(stream)["exception"].count("the member") == 1


def test_a_deep_traceback_is_cut(stream: io.StringIO) -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise RuntimeError("at the bottom")
        even(depth - 1) if depth % 2 else odd(depth - 1)

    even = odd = deeper
    try:
        deeper(300)
    except RuntimeError:
        log.exception("failed")
    text = _line(stream)["exception"]
    assert "frames left out" in text
    assert len(text) < 10_000
    assert text.endswith("RuntimeError: at the bottom")


def test_an_exception_whose_text_fails_is_named_by_its_type(stream: io.StringIO) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    log.error("failed", exc_info=Unspeakable())
    assert _line(stream)["exception"].endswith("Unspeakable")


def test_error_lines_of_uvicorn_have_our_form_and_access_lines_are_not_made(
    stream: io.StringIO,
) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addHandler(logging.StreamHandler(stream))
    configure_logging("INFO", "json", stream)
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s"', "127.0.0.1", "GET /api?q=hunter2")
    assert not access.hasHandlers()
    line = _line(stream)
    assert line["logger"] == "uvicorn.error"
    assert line["event"] == "Started server process [7]"


def test_no_package_shows_its_debug_lines(stream: io.StringIO) -> None:
    configure_logging("DEBUG", "json", stream)
    logging.getLogger("aiosqlite").info("executing %s", (SECRET,))
    logging.getLogger("httpcore.http11").debug("send_request_headers hunter2")
    assert stream.getvalue() == ""


def test_warnings_are_lines(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look here", stacklevel=1)
    assert _line(stream)["logger"] == "py.warnings"
    assert "UserWarning: look here" in _line(stream)["event"]


async def test_what_asyncio_reports_shows_no_repr_of_an_exception(stream: io.StringIO) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "it was never retrieved", "exception": ValueError(SECRET)}
    )
    line = _line(stream)
    assert line["event"] == "it was never retrieved"
    assert line["exception"] == "ValueError"


def test_a_record_whose_arguments_do_not_fit_is_logged_without_them(stream: io.StringIO) -> None:
    logger = logging.getLogger("somebody.else")
    template = "%d of %d"
    # The test runner's own handlers would fail on this record.
    root = logging.getLogger()
    root.handlers[:] = [
        each for each in root.handlers if type(each).__module__ == "backend.observability.log"
    ]
    logger.warning(template, SECRET)
    assert _line(stream)["event"] == "%d of %d"


def test_values_that_are_no_json_never_break_a_line_nor_show_themselves(
    stream: io.StringIO,
) -> None:
    class Holder:
        def __repr__(self) -> str:
            return SECRET

    log.info("odd", holder=Holder(), secret=SecretStr(SECRET), nan=float("nan"), big=2**70)
    log.info("odd", surrogate="\udc80", nan=float("nan"), holder=Holder(), lines="a\nb")
    first, second = _lines(stream)
    assert first["holder"] == second["holder"] == "<Holder>"
    assert first["secret"] == "**********"
    assert first["nan"] is None
    assert second["nan"] is None
    assert first["big"] == 2**70
    assert second["surrogate"] == "\udc80"
    assert second["lines"] == "a\nb"


def test_a_log_without_a_reader_fails_no_request() -> None:
    configure_logging("INFO", "json", _Broken())
    log.info("lost")
    closed = io.StringIO()
    configure_logging("INFO", "json", closed)
    closed.close()
    log.info("lost")


def test_the_console_is_for_terminals_and_json_for_everything_else() -> None:
    plain, terminal = io.StringIO(), _Terminal()
    configure_logging("INFO", None, plain)
    log.info("hello", number=1)
    configure_logging("INFO", None, terminal)
    log.info("hello", number=1)
    assert _line(plain)["number"] == 1
    assert not terminal.getvalue().startswith("{")
    assert "hello" in terminal.getvalue()


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured, plain = _Terminal(), _Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure_logging("INFO", "console", coloured)
    log.info("hello")
    monkeypatch.setenv("NO_COLOR", "1")
    configure_logging("INFO", "console", plain)
    log.info("hello")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()


def test_no_logged_text_starts_a_console_line() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "console", stream)
    log.info("event\nforged", value="a\nforged\x1b[31m", table={"a": [1]}, other=object())
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "<object>" in text
    assert '{"a":[1]}' in text


def test_the_console_shows_an_exception_below_its_line() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "console", stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("failed")
    assert "Traceback (most recent call last):\n" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("RuntimeError: broken")
