"""What tests of searches for parts of texts have in common."""

import random
from collections.abc import Sequence
from unicodedata import normalize

import pytest

from backend.repositories import part_search

PIECES = (
    *("a", "-", ".", " ", "42", "0", "ß", "SS", "Café", "한글", "がぎ", "失败", "测试", "Ǆ"),
    *("\u212b", "😀", "👩\u200d💻", "\U0010ffff", "\ud7ff\ue000"),
    *("100%", "a_b", "\\", '"', "'", "*", "^", "(", "NEAR", "OR"),
)
"""Pieces of texts, which a search might mistake for something else."""


def words(chance: random.Random, most: int, pieces: Sequence[str]) -> str:
    """A text of up to `most` pieces, in one of two Unicode forms."""
    text = "".join(chance.choice(pieces) for _ in range(chance.randint(1, most)))
    return normalize(chance.choice(("NFC", "NFD")), text)


def part_of(chance: random.Random, text: str) -> str:
    """A part of the text, of one character to all."""
    start = chance.randrange(len(text))
    return text[start : start + chance.choice((1, 1, 2, 2, 3, 4, 5, 8, 30))]


def in_some_form(chance: random.Random, text: str) -> str:
    """The text in some case and Unicode form."""
    text = chance.choice((str, str.upper, str.lower))(text)
    return normalize(chance.choice(("NFC", "NFD")), text)


def use_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few rows count as many, so that each way to search is taken."""
    for name, number in (
        ("FEW_ROWS", 3),
        ("FEW_OF_SHORT_PART", 3),
        ("SOME_ROWS", 6),
        ("COUNTED_ROWS", 12),
    ):
        monkeypatch.setattr(part_search, name, number)
