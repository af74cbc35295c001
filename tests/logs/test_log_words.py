"""The words of a message: which they are, whatever the engine."""

import sqlite3
import unicodedata
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.repositories.log_words import (
    ASCII_SYMBOLS,
    indexed_text,
    indexed_texts,
    phrases,
    without_escapes,
    words,
)

EXAMPLES = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\r\n\x00\x7f", ""),
        ("Connection refused, retry: 3", "connection refused retry 3"),
        ("db-01.internal:5432", "db 01 internal 5432"),
        ("snake_case camelCase it's", "snake case camelcase it s"),
        # Symbols.
        ("C++ or C:\\", "c + + or c"),
        ("a=b|c<d>e~f $5", "a = b | c < d > e ~ f $ 5"),
        ("`^` \xb4 \xa8", ""),
        ("5€ ±1 → ✓ ©", "5 € ± 1 → ✓ ©"),
        ("≠ =\u0338", "≠ ≠"),
        # Emoji, and what joins and varies them.
        ("failed 🔥🔥", "failed 🔥 🔥"),
        ("👩‍💻 ⚠️ ❤️ 👍🏽 1️⃣ ‼", "👩 💻 ⚠ ❤ 👍 🏽 1 ‼"),
        ("🇩🇪 \U0001fae9", "🇩 🇪 \U0001fae9"),
        # Case, accents, forms.
        ("GRÖßE Größe gro\u0308ße", "große große große"),
        ("NAÏVE façade ÅNGSTRÖM \u212b \u212a", "naive facade angstrom a k"),
        ("Tiếng Việt ǖ", "tieng viet u"),
        ("ø đ ł æ ŉ ı", "ø đ ł æ ŉ ı"),  # noqa: RUF001
        ("ΣΊΣΥΦΟΣ Σίσυφος", "σίσυφοσ σίσυφοσ"),
        ("МОЙ мои\u0306 ёлка ЁЛКА за\u0301мок", "мой мой ёлка ёлка замок"),  # noqa: RUF001
        ("İstanbul", "istanbul"),
        ("ＥＲＲＯＲ１", "ｅｒｒｏｒ１"),  # noqa: RUF001
        ("שָׁלוֹם שלום", "שלום שלום"),
        ("مُحَمَّد محمد", "محمد محمد"),
        ("हिन्दी में", "हिन्दी में"),
        ("x² ½ Ⅷ ①", "x² ½ ⅷ ①"),
        # Blanks, joiners and directions are boundaries, as they are to unicode61.
        ("a\u00a0b\u3000c\u200bd\u00ade\u202ef", "a b c d e f"),
        # Scripts without spaces.
        ("败", "败"),
        ("失败", "失 失败 败"),
        ("测试失败", "测 测试 试 试失 失 失败 败"),
        ("测试，失败", "测 测试 试 失 失败 败"),  # noqa: RUF001
        ("部署v1.2.3完成 OK", "部 部署 署 v1 2 3 完 完成 成 ok"),
        ("第3章", "第 3 章"),
        ("ログ か\u3099", "ロ ログ グ が"),
        ("오류가 \u110b\u1169", "오 오류 류 류가 가 오"),
        ("ล้ม", "ล ล้ ้ ้ม ม"),
        ("ຜິດ", "ຜ ຜິ ິ ິດ ດ"),
        ("កំហុស", "ក កំ ំ ំហ ហ ហុ ុ ុស ស"),
        ("အမှား", "အ အမ မ မှ ှ ှာ ာ ား း"),
        ("葛\U000e0100城", "葛 葛城 城"),
        ("𠮷野", "𠮷 𠮷野 野"),
        ("﨎", "﨎"),
        ("更", "更"),
        ("฿5 ๑๒", "฿ 5 ๑ ๑๒ ๒"),
        ("火🔥火", "火 🔥 火"),
        # Escapes.
        ("\x1b[31mERROR\x1b[0m", "error"),
        ("\x1b[1;38;5;196mA\x1b[0mB \x9b1mC", "ab c"),
        ("a\x1b[Kb a\x1b[2Cb a\x1b[Hb", "ab a b a b"),
        ("\x1b]0;a title\x07text \x1b]2;t\x1b\\text", "text text"),
        ("\x1b]8;;https://example.com/\x1b\\link\x1b]8;;\x1b\\s", "links"),
        ("\x1bPq#0~\x1b\\text \x1b(Btext a\x1bMb a\x1b=b", "text text a b ab"),
        # What was cut off keeps its words.
        ("text\x1b", "text"),
        ("text\x1b[38;5", "text"),
        ("\x1b]0;cut off", "0 cut off"),
        ("\x1b\x1b[1mtext", "text"),
        # Nor does it hide later lines, up to an end that belongs to another sequence.
        ("\x1b]0;cut\nERROR disk full\a", "0 cut error disk full"),
        ("\x1b]8;;https://a.b\r\nERROR\x1b\\", "8 https a b error"),
        ("\x1bPq#0\n#1\x1b\\text", "text"),
        # UTF-8 that was read as another encoding has such bytes for quotation marks.
        ("\xe2\x80\x9d disk \xe2\x80\x9c full \xe2\x80\x9d", "a disk a full a"),
        # Directions, joiners and marks take no word along.
        ("\u202eERROR\u202c \u2066disk\u2069 \ufefffull", "error disk full"),
        ("می\u200cخواهم a\u034fb a\u20dd", "می خواهم ab a"),  # noqa: RUF001
        ("🏴\U000e0067\U000e0062\U000e007f #️⃣ 3️⃣ ☎\ufe0e", "🏴 3 ☎"),
        # What no encoder takes.
        ("a\ud800b", "a b"),
    ],
)
def test_a_text_has_these_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()
    assert indexed_texts([text, "and", text]) == [indexed_text(text), "and", indexed_text(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("-- ... !?", []),
        ("refused  connection refused", ["refused", "connection"]),
        ("db-01.internal:5432 -- C++", ["db 01 internal 5432", "c + +"]),
        ("失", ["失"]),
        ("失败", ["失败"]),
        ("测试失败", ["测试 试 试失 失 失败"]),
        ("失 失败", ["失", "失败"]),
        ("失-失败-败", ["失 失 失败 败 败"]),
        ("v1完成ok", ["v1 完 完成 成 ok"]),
        ("v1完成", ["v1 完 完成"]),
        ("完成v1", ["完成 成 v1"]),
        ("测试\u3000失败", ["测试", "失败"]),
        ("a ab", ["a", "ab"]),
        ("a-ab-b", ["a ab b"]),
        ("\x1b[31mERROR\x1b[0m \x1b]0;no word\x07", ["error"]),
    ],
)
def test_a_search_looks_for_these_words(text: str, expected: list[str]) -> None:
    assert phrases(text) == expected


anything = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "abcXYZ019 \t\n-_.:/\\\"'\x1b[]0;m\x07\0失败测试火ล้มกオが오류éÖßﬁ゙́🔥👩‍💻️+<=>~|$€≠"
        ),
    ),
    max_size=60,
)


@EXAMPLES
@given(texts=st.lists(anything, max_size=5))
def test_many_texts_have_the_words_of_each(texts: list[str]) -> None:
    assert indexed_texts(texts) == [indexed_text(text) for text in texts]


@EXAMPLES
@given(text=anything)
def test_words_are_fit_for_every_engine(text: str) -> None:
    for word in words(text):
        # Nothing that any tokenizer would take for a boundary, or write in another way.
        assert word.isascii() is False or word.isalnum() or word in ASCII_SYMBOLS
        assert word == "".join(c.lower() if c.isascii() else c for c in word)
        assert not any(c.isspace() or (c.isascii() and not c.isalnum()) for c in word[1:])
    assert not set(indexed_text(text)) & set("\0\t\n\r\"'\\*()-^:")


@EXAMPLES
@given(text=anything)
def test_a_text_and_its_normal_forms_have_the_same_words(text: str) -> None:
    # What Unicode 14 does not assign is taken as it is, and an escape may end with a letter.
    plain = "".join(
        c for c in text if c not in "\x1b\x9b" and unicodedata.category(c) not in ("Cn", "Cs")
    )
    expected = words(plain)
    assert words(unicodedata.normalize("NFC", plain)) == expected
    assert words(unicodedata.normalize("NFD", plain)) == expected


@EXAMPLES
@given(before=anything, text=anything, after=anything)
def test_a_text_is_found_between_others(before: str, text: str, after: str) -> None:
    # An escape or an accent may reach into what follows it.
    found = f" {indexed_text(f'{before} . {without_escapes(text)} . {after}')} "
    if "\x1b" in before or "\x9b" in before:
        return
    spaced = " ".join(found.split())
    for phrase in phrases(text):
        assert f" {phrase} " in f" {spaced} "


@EXAMPLES
@given(
    text=st.text(
        st.characters(
            categories=["Lu", "Ll", "Lt", "Lo", "Nd", "Po", "Pd", "Zs", "Cc"],
            max_codepoint=0x6FF,
            exclude_characters="\x1b\x9b\0Ǡǡ",
        ),
        max_size=60,
    )
)
def test_letters_and_punctuation_are_split_as_unicode61_does(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    # Unicode 6.1, which SQLite knows, has fewer characters.
    plain = "".join(c for c in composed if unicodedata.ucd_3_2_0.category(c) != "Cn")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "CREATE VIRTUAL TABLE texts USING"
            " fts5 (body, tokenize = 'unicode61 remove_diacritics 2')"
        )
        connection.execute("CREATE VIRTUAL TABLE seen USING fts5vocab(texts, instance)")
        connection.execute("INSERT INTO texts VALUES (?)", (plain,))
        seen = connection.execute("SELECT term FROM seen ORDER BY offset").fetchall()
    assert words(plain) == [row[0] for row in seen]
