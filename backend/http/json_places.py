"""Finds the path of a refused value in a JSON text: decoders tell a line at best, never a path."""

import json
import re
from dataclasses import dataclass, field

from backend.schemas.base import RequestModel

PathPart = str | int
"""A member's name, or an item's index."""

MAX_TOKENS = 50_000
"""The search stops after this many tokens, because it blocks the event loop."""
MAX_DEPTH = 200
"""A text that is refused as nested too deeply has more levels than this."""
MAX_DIGITS = 4300
"""Python refuses longer integers."""
_MAX_PARTS = 8
_encoded = json.JSONEncoder(ensure_ascii=False).encode

_TOKENS = re.compile(
    rf'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{{}},]|-?Infinity|NaN|-?\d{{{MAX_DIGITS + 1},}}', re.DOTALL
)


@dataclass(slots=True)
class _Level:
    """An object or an array that contains the current position."""

    part: PathPart | None
    """The current member or item; `None` for an object before its first name."""
    names: set[str] = field(default_factory=set)
    """The names seen in the object so far."""
    wants_name: bool = False


def place_of_refused(
    text: str, code: str, decoder: json.JSONDecoder, stop: int | None = None
) -> tuple[PathPart, ...] | None:
    """The path to the first value in `text` that is refused with this code: a repeated key, NaN,
    an unpaired surrogate, too many levels or digits. `None` when it is more than `MAX_TOKENS` away.

    With `stop` it is the path to that character; the text before it must be JSON. The `decoder`
    must raise for every refused value except surrogates.
    """
    levels: list[_Level] = []
    position = 0
    for _ in range(MAX_TOKENS):
        match = _TOKENS.search(text, position)
        if match is None or (stop is not None and match.end() > stop):
            break
        position = match.end()
        text_part = match[0]
        if text_part[0] == '"':
            if _is_refused(text_part, levels[-1] if levels else None, code):
                break
        elif text_part in "{[":
            if end := _end_of_good_item(text, match.start(), levels, decoder):
                position = end
                continue
            levels.append(_Level(None, wants_name=True) if text_part == "{" else _Level(0))
            if len(levels) > MAX_DEPTH and code == "json_depth":
                break
        elif text_part in "}],":
            _go_on(levels, text_part)
        elif stop is None:
            break
    else:
        return None
    return tuple(level.part for level in levels if level.part is not None)


def _end_of_good_item(
    text: str, start: int, levels: list[_Level], decoder: json.JSONDecoder
) -> int | None:
    """The end of the batch item that begins at `start`; `None` when the item has a refused value,
    or when this is not a batch item. Batch items are in an array that is the body or a member of
    the body. Decoding an item is much faster than going through its tokens."""
    arrays = [isinstance(level.part, int) for level in levels]
    if arrays not in ([True], [False, True]):
        return None
    try:
        value, end = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    if "\\u" in text[start:end] and not _is_unicode(_encoded(value)):
        return None
    return end


def _is_refused(string: str, level: _Level | None, code: str) -> bool:
    """Whether a string is refused with this code: it has an unpaired surrogate, or repeats a name
    of the object. A string that is a name also becomes the current member of `level`."""
    value = _unescaped(string)
    is_name = level is not None and level.wants_name
    if level is not None and is_name:
        level.wants_name = False
        level.part = value
        if value in level.names and code == "repeated_key":
            return True
        level.names.add(value)
    return code == "unpaired_surrogate" and "\\u" in string and not _is_unicode(value)


def _unescaped(string: str) -> str:
    """The value of a JSON string; its raw text when it has an invalid escape."""
    try:
        value: str = json.loads(string, strict=False)
    except ValueError:
        value = string[1:-1]
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _go_on(levels: list[_Level], mark: str) -> None:
    """Move past a closing bracket or a comma."""
    if mark != ",":
        del levels[-1:]
    elif levels:
        level = levels[-1]
        if isinstance(level.part, int):
            level.part += 1
        else:
            level.wants_name = True


def shown(path: tuple[PathPart, ...]) -> tuple[PathPart, ...]:
    """The part of a path that may be shown: it ends before the first name that no request model
    has, since such a name could be a secret in the wrong place."""
    known = _known_names(RequestModel)
    parts: list[PathPart] = []
    for part in path[:_MAX_PARTS]:
        if not isinstance(part, int) and part not in known:
            break
        parts.append(part)
    return tuple(parts)


def _known_names(model: type[RequestModel]) -> set[str]:
    fields = model.model_fields.items()
    names = {*(field.alias or name for name, field in fields), *model.answer_only}
    for kind in model.__subclasses__():
        names |= _known_names(kind)
    return names
