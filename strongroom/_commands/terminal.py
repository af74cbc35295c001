"""Writes text that is safe for a terminal, and makes sure that secrets reach standard output."""

import sys
import unicodedata


class _Escapes(dict[int, str]):
    """A table for `str.translate`, with an escape for each character that could control a terminal
    or end a line. It grows with the characters that occur."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Other kinds of space are harmless, and some scripts need them.
        if character.isprintable() or unicodedata.category(character) == "Zs":
            self[code] = character
        elif not self._json:
            self[code] = character.encode("unicode_escape").decode("ascii")
        elif character == "\n":
            # It separates JSON texts; inside a string it is already escaped.
            self[code] = character
        else:
            units = character.encode("utf-16-be", "surrogatepass").hex(" ", -2).split()
            self[code] = "".join(f"\\u{unit}" for unit in units)
        return self[code]


_PLAIN, _JSON = _Escapes(json=False), _Escapes(json=True)


def printable(text: str) -> str:
    """The text on one line. Escapes replace characters that control a terminal, end a line, change
    the direction of writing or are invisible: `\\x1b`, `\\n`, `\\u202e`."""
    return text if text.isprintable() else text.translate(_PLAIN)


def printable_json(text: str) -> str:
    """JSON texts, one per line, with the same meaning and escaped like `printable` text."""
    return text if text.isprintable() else text.translate(_JSON)


def say(*lines: str) -> None:
    """Write lines for a person to standard output."""
    for line in lines:
        print(printable(line))


class NotWritten(Exception):
    """Standard output did not accept a secret that is shown only once. The message is one line."""


def hand_out(text: str) -> None:
    """Write a secret that is shown only once to standard output, unescaped, and flush it. Raises
    `NotWritten`."""
    try:
        print(text)
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is closed"
        raise NotWritten(
            f"standard output can't be written ({reason}): send it to a place with free space"
        ) from None
