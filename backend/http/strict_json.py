"""Reads request bodies: JSON by RFC 8259, without the parts that decoders disagree about."""

import codecs
import contextlib
import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Final, NoReturn

from jiter import from_json
from starlette.requests import Request

from backend.errors import MalformedJson, UnsupportedEncoding, UnsupportedMediaType, pointer
from backend.http.json_places import place_of_refused, shown
from backend.http.request_head import Headers, headers_of
from backend.schemas.json_numbers import may_have_minus_zero, read_decimal, read_integer

JSON: Final = "application/json"


def parse_json(body: bytes, name: str = "the body", *, is_line: bool = False) -> Any:
    """The value of a JSON text in UTF-8, which messages call `name`. `is_line` tells that the text
    is one line of a file, whose number the caller tells.

    Raises `MalformedJson`, also for repeated keys, NaN and infinities, lone surrogates, too deep
    nesting and too long integers. The message tells the place and repeats no input. A number that
    would be returned changed is read as `UNKEPT`, and its schema refuses it.
    """
    if not _may_have_long_number(body):
        # The fast decoder refuses all that is refused here, and too deep nesting earlier, but has
        # its own messages. It reads `-0`, and fractions that a double can't hold, differently.
        with contextlib.suppress(ValueError):
            return from_json(
                body, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True
            )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse_other_encoding(body, name)
        before = body[: error.start].decode("utf-8")
        detail = f"{name} is not UTF-8 (byte {error.start})"
        raise _refusal(before, "not_utf8", detail, len(before)) from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=read_decimal,
            parse_int=read_integer if may_have_minus_zero(text) else None,
        )
        # A lone surrogate can come only from an escape.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8")
    except UnicodeEncodeError:
        detail = "a string has an unpaired surrogate (\\ud800 to \\udfff)"
        raise _refusal(text, "unpaired_surrogate", detail) from None
    except json.JSONDecodeError as error:
        refuse_other_encoding(body, name)
        line = "" if is_line else f"line {error.lineno} "
        detail = f"{name} is not JSON ({line}column {error.colno})"
        raise _refusal(text, "not_json", detail, error.pos) from None
    except RecursionError:
        raise _refusal(text, "json_depth", f"{name} is nested too deeply") from None
    except _RefusedError as error:
        raise _refusal(text, error.code, str(error)) from None
    except ValueError:
        # Python refuses integers of more than 4300 digits.
        raise _refusal(text, "number_too_long", "a number is too long") from None
    return value


def parse_quickly(texts: Sequence[bytes], whole: bytes) -> list[Any] | None:
    """The values of JSON texts, which are parts of `whole` behind white space or at its beginning;
    `None` if `parse_json` has to look at them. Takes two thirds of its time."""
    if _may_have_long_number(whole):
        return None
    try:
        return [
            from_json(text, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True)
            for text in texts
        ]
    except ValueError:
        return None


def _refusal(text: str, code: str, detail: str, stop: int | None = None) -> MalformedJson:
    path = place_of_refused(text, code, _DECODER, stop)
    if path is None:
        return MalformedJson(detail)
    place = pointer(shown(path))
    return MalformedJson(
        f"{detail} at {place}" if place else detail,
        errors=[{"pointer": place, "code": code, "message": detail}],
    )


def check_content_type(request: Request) -> None:
    """Raises `UnsupportedMediaType` unless the body is declared as JSON, and is not compressed."""
    refuse_coding(request)
    check_media_type(headers_of(request.scope))


def is_json(content_type: str) -> bool:
    """Whether a body with this `Content-Type` is declared as JSON."""
    if content_type == JSON:
        return True
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON or _OTHER_JSON.fullmatch(media_type) is not None


def refuse_coding(request: Request) -> None:
    """Raises `UnsupportedEncoding` for a compressed body."""
    if content_codings(headers_of(request.scope)):
        raise UnsupportedEncoding


def content_codings(headers: Headers) -> list[str]:
    """How the body is encoded, in lower case; empty if it is sent as it is."""
    codings = headers.get(b"content-encoding")
    if not codings:
        return []
    names = [name.strip(" \t").lower() for name in codings.decode("latin-1").split(",")]
    return [name for name in names if name not in ("", "identity")]


def check_media_type(headers: Headers, *, others: Collection[str] = ()) -> None:
    """Raises `UnsupportedMediaType` unless the body is declared as JSON. Its message also names
    the media types that the route takes besides."""
    if not is_json(headers.get(b"content-type", b"").decode("latin-1")):
        known = " or ".join([JSON, *others])
        raise UnsupportedMediaType(f"send the body with Content-Type: {known}")


def read_json(
    request: Request, body: bytes, *, required: bool = True, others: Collection[str] = ()
) -> None:
    """Read a request's body strictly; afterwards `request.json()` returns its value.

    Without `required` the body may be empty. `others` are media types that the route takes besides.
    Raises `UnsupportedMediaType`, `BodyTooLarge` and `MalformedJson`.
    """
    if not body and not required:
        return
    headers = headers_of(request.scope)
    if body or b"content-type" in headers:
        refuse_coding(request)
        check_media_type(headers, others=others)
    read_checked(request, body)


def read_checked(request: Request, body: bytes) -> None:
    """Read a body that is declared as JSON, as `read_json` does."""
    if not body:
        raise MalformedJson("the body is empty: send a JSON object")
    request._json = parse_json(body)


def refuse_other_encoding(body: bytes | bytearray, name: str) -> None:
    """Raises `MalformedJson` for a text in an encoding other than UTF-8."""
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedJson(f"{name} begins with a byte order mark: remove it")
    encoding = json.detect_encoding(bytes(body[:4]))
    if encoding != "utf-8":
        raise MalformedJson(f"{name} is encoded in {encoding[:6].upper()}: send UTF-8")


def _may_have_long_number(body: bytes) -> bool:
    """Whether a JSON text may contain `-0`, or a number that `read_decimal` may refuse: with an
    exponent, or with more than 15 characters. Also true for some texts in strings."""
    kinds = body.translate(_KINDS)
    # Many bodies have such characters only in their ids and dates, where no number begins.
    return (b"0e" in kinds or b"0" * 16 in kinds or b"-0" in body) and (
        _LONG_NUMBER.search(body) is not None or body[:1] in b"-0123456789"
    )


_KINDS = bytes(
    ord("0" if chr(n) in "0123456789." else "e" if chr(n) in "eE" else " ") for n in range(256)
)
"""For each byte, the one that stands for its kind. To search in these is five times as fast as a
regular expression."""
_LONG_NUMBER = re.compile(rb"[\s:,\[](?:-0|-?[0-9][0-9.]*(?:[eE]|(?<=[0-9.]{16})))")
"""Such a number, except at the beginning of a text."""
_OTHER_JSON = re.compile(r"application/[^/]*\+json")


class _RefusedError(ValueError):
    """Raised for JSON that Python accepts and this service refuses."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RefusedError("repeated_key", "an object has the same key twice")
    return value


def _no_constant(_name: str) -> NoReturn:
    raise _RefusedError("not_a_number", "NaN and infinities are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
