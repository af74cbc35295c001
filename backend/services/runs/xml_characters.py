"""Replaces the control characters that XML does not allow, also as references.

Some tools write them all the same, such as Node and mocha the colours in the message of a test.
"""

import re
from collections.abc import Iterator
from typing import Final

_IN_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
"""How texts begin in which a byte is only half of a character."""
_ALLOWED: Final = bytes(
    byte if byte >= 0x20 or byte in b"\t\n\r" else ord("?") for byte in range(256)
)
_REFERENCE: Final = re.compile(
    rb"&#(?:x0*(?:1?[0-8bcefBCEF]|1[9adAD])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));"
)


def allowed(body: bytes) -> bytes:
    """The text of an XML file with `?` for each control character that XML does not allow.

    Texts in UTF-16 stay as they are.
    """
    if body.startswith(_IN_UTF_16):
        return body
    return b"".join(_without_references(body.translate(_ALLOWED)))


def _without_references(body: bytes) -> Iterator[bytes]:
    """The parts of a text without references to such characters. In CDATA there are no references:
    there it is the text itself."""
    done = looked_at = 0
    for found in _REFERENCE.finditer(body):
        while (opens := body.find(b"<![CDATA[", looked_at, found.start())) >= 0:
            closes = body.find(b"]]>", opens)
            looked_at = len(body) if closes < 0 else closes
        if looked_at <= found.start():
            yield body[done : found.start()]
            yield b"?"
            done = looked_at = found.end()
    yield body[done:]
