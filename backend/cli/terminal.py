"""What a terminal may be shown, and what must not get lost on the way to it."""

import sys
import unicodedata


class _Escapes(dict[int, str]):
    """For `str.translate`: an escape for each character that a terminal or a reader of lines could
    take for more than a character. Filled as characters come."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Blanks other than a space are no danger, and letters in some scripts go with them.
        if character.isprintable() or unicodedata.category(character) == "Zs":
            self[code] = character
        elif not self._json:
            self[code] = character.encode("unicode_escape").decode("ascii")
        elif character == "\n":
            # Between JSON texts; in a string it is escaped already.
            self[code] = character
        else:
            units = character.encode("utf-16-be", "surrogatepass").hex(" ", -2).split()
            self[code] = "".join(f"\\u{unit}" for unit in units)
        return self[code]


_PLAIN, _JSON = _Escapes(json=False), _Escapes(json=True)


def printable(text: str) -> str:
    """The text on one line, with escapes for what steers a terminal, ends a line, turns the
    direction of writing or can't be seen: `\\x1b`, `\\n`, `\\u202e`."""
    return text if text.isprintable() else text.translate(_PLAIN)


def printable_json(text: str) -> str:
    """JSON texts, a line each, that mean the same and are as harmless as `printable` makes text."""
    return text if text.isprintable() else text.translate(_JSON)


def say(*lines: str) -> None:
    """Write lines for a person to standard output."""
    for line in lines:
        print(printable(line))


class NotWritten(Exception):
    """Standard output did not take what is shown only once. The message is one line."""


def hand_out(text: str) -> None:
    """Write a secret that is shown only once to standard output, as it is, and see that it got
    there. Raises `NotWritten`."""
    try:
        print(text)
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is closed"
        raise NotWritten(
            f"standard output can't be written ({reason}): send it to a place with free space"
        ) from None
