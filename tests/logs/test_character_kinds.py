"""The table of characters: as Unicode 14 has them, in every interpreter."""

import hashlib
import unicodedata

import pytest

from backend.repositories.character_kinds import (
    MARK,
    OTHER,
    PAIR,
    SYMBOL,
    UNKNOWN,
    WORD,
    kind_of,
    runs,
)
from backend.repositories.log_words import indexed_text, indexed_texts

# Chinese, Japanese, Korean, Thai, Lao, Khmer, Myanmar, and the scripts that are written like them.
PAIRED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3005, 0x3007)),
    *((0x3021, 0x303C), (0x3040, 0x312F), (0x3130, 0x318F), (0x31A0, 0x31BF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA960, 0xA97F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    *((0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFF66, 0xFFDC), (0x16FE0, 0x18D8F)),
    *((0x1AFF0, 0x1B2FF), (0x20000, 0x2FFFF), (0x30000, 0x3FFFD)),
)
# Accents of any script, points of Hebrew and Arabic, sounds of kana, and variation selectors.
IGNORED = (
    *((0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F)),
    *((0x0670, 0x0670), (0x06D6, 0x06ED), (0x0711, 0x0711), (0x0730, 0x074A), (0x1AB0, 0x1AFF)),
    *((0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0x3099, 0x309A), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F)),
    (0xE0100, 0xE01EF),
)
EMOJI = (0x1F000, 0x1FAFF)
EMOJI_OUTSIDE = {0x203C, 0x2049, 0x2139, 0x3030}
IDEOGRAPHS = ((0x20000, 0x2F7FF), (0x30000, 0x3FFFD))


def within(code: int, *ranges: tuple[int, int]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def expected_kind(code: int) -> str:
    """The kind of a character by the interpreter's data."""
    category = unicodedata.category(chr(code))
    if within(code, EMOJI) or code in EMOJI_OUTSIDE:
        return SYMBOL
    if within(code, *IDEOGRAPHS):
        return PAIR
    if category == "Cn":
        never = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
        return OTHER if never else UNKNOWN
    if category == "Co":
        return WORD
    if category[0] == "M" and within(code, *IGNORED):
        return MARK
    if category[0] in "LMN":
        return PAIR if within(code, *PAIRED) else WORD
    return SYMBOL if category in ("Sm", "Sc", "So") else OTHER


def expected_table() -> list[tuple[str, int, int]]:
    """All runs of characters of one kind."""
    found: list[tuple[str, int, int]] = []
    for code in range(0x80, 0x110000):
        kind = expected_kind(code)
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1], code)
        else:
            found.append((kind, code, code))
    return found


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="needs the data of Unicode 14")
def test_the_table_is_that_of_unicode_14() -> None:
    assert list(runs()) == expected_table()


def test_the_table_has_every_character_once() -> None:
    end = 0x80
    for kind, first, last in runs():
        assert first == end
        assert last >= first
        assert kind_of(first) == kind_of(last) == kind
        end = last + 1
    assert end == 0x110000


def test_the_words_of_no_character_ever_change() -> None:
    """The index finds the entries of a log by its words. If this fails, all logs have to be indexed
    again: see decision 34."""
    digest = hashlib.sha256()
    for code in range(0x80):
        digest.update(indexed_text(f"a{chr(code)}b").encode())
    for _, first, last in runs():
        codes = [*range(first, min(last, first + 3000) + 1), last]
        for text in indexed_texts([f"a{chr(code)}b{chr(code)}失" for code in codes]):
            digest.update(text.encode())
    assert digest.hexdigest() == (
        "4d939c2537379388c3299d8a10505766ec5c9f2a950a89ff4f0275100d01740a"
    )
