"""Writes log lines to standard error, each as one JSON object or one console line.

Our own loggers and those of the standard library (uvicorn, asyncio, warnings) use the same few
functions, so that all lines look the same and no line leaks around them.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TextIO

import structlog
from pydantic_core import PydanticSerializationError, to_json
from structlog.contextvars import merge_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from backend.observability.request_ids import current_request_id
from backend.observability.tracebacks import format_exception

Format = Literal["console", "json"]

_GRAVE = frozenset({"warning", "error", "critical"})
_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure_logging(level: str, fmt: Format | None = None, stream: TextIO | None = None) -> None:
    """Send every log line to `stream`, by default standard error.

    `level` is the name of a level. `fmt` None means console on a terminal and JSON elsewhere. May
    be called again: the last call applies to all existing loggers.
    """
    stream = stream or sys.stderr
    if fmt is None:
        fmt = "console" if stream.isatty() else "json"
    severity = logging.getLevelNamesMapping()[level.upper()]
    render = _render_json if fmt == "json" else _ConsoleFormat(stream)
    _access.stream = stream if fmt == "json" and severity <= logging.INFO else None
    structlog.configure(
        processors=[_complete, _tap, render],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=_Sink(stream),
        # Not cached, so that a later call reaches loggers made before it.
        cache_logger_on_first_use=False,
    )
    _take_over_standard_library(severity)


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger called `name`; usable before `configure_logging`.

    Its lines have the id of the current request, and the values bound in `structlog.contextvars`.
    """
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


class Access(NamedTuple):
    """An answered request. `request_id`, `method` and `route` must need no escapes in JSON."""

    at: int
    """When it was answered, by `time.time_ns`."""
    request_id: str
    method: str
    route: str
    """The template of its route."""
    status: int
    seconds: float
    """How long it took."""


def log_access(request_id: str, method: str, route: str, status: int, seconds: float) -> None:
    """Write the access line of a request that was answered now. See `Access` about the values."""
    log_accesses([Access(time.time_ns(), request_id, method, route, status, seconds)])


def log_accesses(accesses: Iterable[Access]) -> None:
    """Write the access lines of requests."""
    stream = _access.stream
    if stream is not None:
        # Requests wait for this. structlog would take three times as long for each line.
        _write(stream, [_access_line(*access) for access in accesses])
        return
    for access in accesses:
        _access.logger.info(
            "request",
            request_id=access.request_id,
            method=access.method,
            route=access.route,
            status=access.status,
            duration_ms=round(access.seconds * 1000, 3),
        )


def _access_line(
    at: int, request_id: str, method: str, route: str, status: int, seconds: float
) -> str:
    return (
        f'{{"timestamp":"{_time_text(at)}","level":"info","logger":"strongroom.access",'
        f'"event":"request","request_id":"{request_id}","method":"{method}","route":"{route}",'
        f'"status":{status},"duration_ms":{seconds * 1000:.3f}}}\n'
    )


Tap = Callable[[Mapping[str, Any]], None]
_taps: list[Tap] = []


def add_tap(tap: Tap) -> None:
    """Call `tap` with each line from WARNING up before it is written, on the thread that logs it.
    A line is a dict with `timestamp`, `level`, `logger`, `event` and the line's other values."""
    _taps.append(tap)


def remove_tap(tap: Tap) -> None:
    """Stop calling `tap`. Does nothing if it was already removed."""
    if tap in _taps:
        _taps.remove(tap)


def as_json(line: Mapping[str, Any]) -> str:
    """A line, or a part of one, as JSON. The name of its type replaces a value without a JSON
    form."""
    return _render_json(None, "", line)


class _Sink:
    """Writes finished lines. A call with a logger's name returns the sink of that logger."""

    __slots__ = ("_stream", "name")

    def __init__(self, stream: TextIO | None, name: str = "") -> None:
        self._stream = stream
        self.name = name

    def __call__(self, name: str = "") -> "_Sink":
        return _Sink(self._stream, name)

    def write(self, line: str) -> None:
        _write(self._stream or sys.stderr, [line + "\n"])

    debug = info = warning = error = critical = msg = write


def _write(stream: TextIO, lines: list[str]) -> None:
    try:
        stream.writelines(lines)
        stream.flush()
    except (OSError, ValueError):
        # The reader of the log is gone, or the stream is closed: no request may fail for that.
        return


class _StandardLibrary(logging.Handler):
    """Formats the log records of other packages like our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        event: EventDict = {"event": _message(record)}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        config = structlog.get_config()
        sink, method = config["logger_factory"](record.name), record.levelname.lower()
        line: Any = event
        for processor in config["processors"]:
            line = processor(sink, method, line)
        if isinstance(line, str):
            sink.info(line)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        # The arguments do not fit the template, and the template alone shows none of them.
        return str(record.msg)
    if record.name == "asyncio":
        # The other lines are reprs of tasks, exceptions and handles.
        return text.partition("\n")[0]
    return text.strip()


def _take_over_standard_library(severity: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _StandardLibrary):
            root.removeHandler(handler)
    root.addHandler(_StandardLibrary())
    # At DEBUG other packages log headers, SQL parameters and the text that they parse.
    root.setLevel(max(severity, logging.INFO))
    for name in _UVICORN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    # Uvicorn's access line has the query string; without a handler uvicorn does not create it.
    logging.getLogger("uvicorn.access").propagate = False
    logging.getLogger("aiosqlite").setLevel(max(severity, logging.WARNING))
    logging.captureWarnings(capture=True)


def _complete(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Adds the time, the level and the context in front, and the exception as text at the end."""
    line: dict[str, Any] = {
        "timestamp": _time_text(time.time_ns()),
        "level": method,
        "logger": logger.name,
        "event": event.pop("event", ""),
    }
    error = _exception(event.pop("exc_info", None))
    request_id = current_request_id()
    if request_id is not None:
        line["request_id"] = request_id
    line |= merge_contextvars(logger, method, event)
    if error is not None:
        line["exception"] = format_exception(error)
    return line


def _tap(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if _taps and method in _GRAVE:
        for tap in tuple(_taps):
            tap(event)
    return event


def _exception(exc_info: object) -> BaseException | None:
    if not exc_info:
        return None
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        exception = exc_info[1]
        return exception if isinstance(exception, BaseException) else None
    return sys.exception()


class _Clock:
    """A time of `time.time_ns` in UTC, as `2030-12-31T23:59:59.123456Z`. Formats each second only
    once."""

    def __init__(self) -> None:
        # One tuple, so that no thread sees the number of one second with the text of another.
        self._last = (-1, "")

    def __call__(self, at: int) -> str:
        second, micros = divmod(at // 1000, 1_000_000)
        last, text = self._last
        if second != last:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = (second, text)
        return f"{text}.{micros:06d}Z"


_time_text = _Clock()


class _Access:
    """The output of `log_access`: JSON to `stream`, or through `logger` if `stream` is `None`."""

    stream: TextIO | None = None
    logger = get_logger("strongroom.access")


_access = _Access()


def _render_json(_logger: WrappedLogger, _method: str, event: Mapping[str, Any]) -> str:
    try:
        return to_json(event, fallback=_name, inf_nan_mode="null", bytes_mode="base64").decode()
    except PydanticSerializationError:
        # UTF-8 can't encode a lone surrogate, but as an escape it is valid JSON.
        text = json.dumps(event, default=_name)
        return json.dumps(json.loads(text, parse_constant=_no_constant), separators=(",", ":"))


def _no_constant(_: str) -> None:
    """Replaces NaN and infinities, which are not JSON, by null."""


def _name(value: object) -> str:
    """The type of a value without a JSON form; its repr could show anything."""
    return f"<{type(value).__name__}>"


class _ConsoleFormat:
    """Formats lines for people, in colour on a terminal unless NO_COLOR is set."""

    def __init__(self, stream: TextIO) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty() and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
            sort_keys=False,
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        plain: EventDict = {
            key: value if key == "exception" else _one_line(value) for key, value in event.items()
        }
        return self._renderer(logger, method, plain)


def _one_line(value: object) -> object:
    """Escapes a text, so that it can neither look like a separate line nor control the terminal."""
    if isinstance(value, str) and not value.isprintable():
        return value.encode("unicode_escape").decode("ascii")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _render_json(None, "", {"": value})[4:-1].strip('"')


if not structlog.is_configured():
    # The default until the program configures logging: warnings only, never on standard output.
    structlog.configure(
        processors=[_complete, _tap, _ConsoleFormat(sys.stderr)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=_Sink(None),
        cache_logger_on_first_use=False,
    )
