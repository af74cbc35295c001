"""Dotenv files as bodies of requests: as they are, or as a text in JSON."""

from collections.abc import Mapping, Sequence
from typing import Final

from backend.errors import BadRequest, InvalidField, ValidationFailed
from backend.http.route_policy import OtherBody
from backend.schemas.dotenv_reading import (
    MAX_DOTENV_BYTES,
    DotenvFile,
    TooManyStatementsError,
    read_dotenv,
)
from backend.schemas.secrets import DotenvUpload

__all__ = ["DOTENV", "IN_JSON", "DotenvFile", "file_in_json", "file_refused"]

IN_JSON: Final = ("dotenv",)
"""The place of a file in JSON."""


def file_in_json(upload: DotenvUpload) -> DotenvFile:
    """What the file in a body of JSON says. Raises `InvalidField` if it is too large."""
    text = upload.dotenv.get_secret_value()
    if len(text.encode()) > MAX_DOTENV_BYTES:
        message = f"may have at most {MAX_DOTENV_BYTES} bytes"
        raise InvalidField(IN_JSON, "too_long", message)
    return _read(text, IN_JSON)


def file_refused(file: DotenvFile, place: Sequence[str]) -> ValidationFailed:
    """The error for a file with rejected lines, which stands at this place in the body."""
    lines = [line.model_dump() for line in file.rejected]
    details = [
        {"loc": place, "type": line["code"], "msg": f"line {line['line']}: {line['message']}"}
        for line in lines
    ]
    return ValidationFailed(details, rejected=lines)


def _read_body(body: bytes, _query: Mapping[str, str]) -> DotenvFile:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        # Not chained, because the exception holds the whole body.
        refusal = BadRequest(f"line {line} is not UTF-8: send the file in UTF-8")
    else:
        return _read(text, ())
    raise refusal


def _read(text: str, place: Sequence[str]) -> DotenvFile:
    try:
        return read_dotenv(text)
    except TooManyStatementsError as error:
        raise InvalidField(place, "too_long", str(error)) from None


DOTENV: Final = OtherBody(media_types=("text/plain",), limit=MAX_DOTENV_BYTES, read=_read_body)
