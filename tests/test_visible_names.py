"""Names can be seen, and read in the order in which they are written; repositories that look the
same are the same."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.schemas.base import RequestModel
from backend.schemas.projects import ProjectDocument, ProjectUpdate
from backend.schemas.results import TestResultCreate
from backend.schemas.testing import ClockChange
from backend.schemas.tokens import TokenCreate
from models import NAME_PATTERN
from tests.runs.test_json_fields import shapes
from tests.support.model_errors import errors_of
from tests.support.shapes import smallest

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = (
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u3164", "\u115f"),
    *("\u1160", "\uffa0", "\u2800", "\u034f", "\ufe0f", "\u0301", "\u20dd", "\U000e0041"),
    *("\U000e0100", "\U0001d159", "\U0001d173", "\u17b4", "\ufff0", "\u2065", "\ue000", "\uffff"),
    *("\ufdd0", "\U0001ffff", "\u0000", "\u0007", "\u0085", "\u00a0", "\u2003", "\u3000", "\u2028"),
    *("\u200b\u200b", "\u200d\u0301 \u2800", " \u200b\t", "\u3164" * 10),
)
SEEN = (
    *("x", ".", "é", "e\u0301", "한글", "\u05e2\u05d1\u05e8\u05d9\u05ea", "💥", "a\u200bb"),
    # Joiners that Persian, Hindi and emoji need.
    *("\u0645\u06cc\u200c\u062e", "\u0915\u094d\u200d\u0937", "👩\u200d👩\u200d👧", "❤\ufe0f"),
    *("🏴\U000e0067\U000e0062\U000e007f", "\u0903", "\u00b7", " a\tb\nc "),
    # Newer than the tables of Python 3.11.
    "\U0001fae9",
)
MAY_BE_EMPTY = {"screenshot_path", "log_path"}
URLS = {"webhook_url", "pr_url", "web_url"}
OTHER_RULES = {
    # Of ASCII, of what git takes, and for repositories: see below.
    *(
        "key",
        "keys",
        "secret_keys",
        "unredacted",
        "events",
        "branch_name",
        "github_owner",
        "github_repo",
        "expires_at",
    ),
    *("timestamp", "at"),
    # They are compared, and shown nowhere.
    *("lease_token", "token"),
}
LONGEST_NAME = 4096
"""What may be longer is prose."""


def short_texts(schema: dict[str, Any], longest: int = LONGEST_NAME) -> Iterator[dict[str, Any]]:
    """The texts of no great length that a field may be, or be a list of."""
    for option in (schema, *schema.get("anyOf", ())):
        if option.get("type") == "array":
            yield from short_texts(option["items"], longest)
        is_one_of_some = "enum" in option or "const" in option
        is_short = option.get("maxLength", longest) <= longest
        if option.get("type") == "string" and not is_one_of_some and is_short:
            yield option


def fields_of_short_texts() -> Iterator[tuple[type[RequestModel], str, dict[str, Any]]]:
    """Each field of a request that is a short text, and the schema of the text."""
    for shape in shapes():
        for field, schema in shape.model_json_schema().get("properties", {}).items():
            for option in short_texts(schema):
                yield shape, field, option


NAMES = [
    (shape, field) for shape, field, _ in fields_of_short_texts() if field not in OTHER_RULES | URLS
]


def test_every_short_text_is_a_name_or_has_a_rule_of_its_own() -> None:
    # An ordinary application does not import it.
    assert ClockChange in shapes()
    others = set()
    for shape, field, option in fields_of_short_texts():
        if field in OTHER_RULES | URLS:
            others.add(field)
        else:
            assert NAME_PATTERN[1:-1] in option.get("pattern", ""), (shape, field)
    assert others == OTHER_RULES | URLS
    assert {"name", "worker", "snapshot_id", "component", "test_type"} <= {n for _, n in NAMES}


@pytest.mark.parametrize("place", NAMES, ids=lambda place: f"{place[0].__name__}.{place[1]}")
def test_a_name_can_be_seen_and_keeps_its_direction(place: tuple[type[RequestModel], str]) -> None:
    shape, field = place
    schema = shape.model_json_schema()
    rest = smallest(schema, schema.get("$defs", {}))
    for name in SEEN:
        assert getattr(shape.model_validate({**rest, field: name}), field) == name
    turned = [text for c in BIDI for text in (c, f"{c}a", f"a{c}b", f"a{c}")]
    for name in (*UNSEEN, *turned, "a\0"):
        assert [where for where, _ in errors_of(shape, {**rest, field: name})] == [field], (
            name.encode("unicode_escape")
        )


@pytest.mark.parametrize("field", sorted(MAY_BE_EMPTY))
def test_a_path_may_be_empty(field: str) -> None:
    shape = TestResultCreate.model_validate({"test_type": "t", "test_name": "t", field: ""})
    assert shape.given_fields()[field] == ""


def test_a_url_keeps_its_direction() -> None:
    for character in BIDI:
        for url in (f"https://a{character}.example/", f"https://a.example/{character}b"):
            assert [where for where, _ in errors_of(ProjectUpdate, {"webhook_url": url})] == [
                "webhook_url"
            ]


@pytest.mark.parametrize("field", ["github_owner", "github_repo"])
def test_a_repository_has_no_character_that_can_not_be_seen(field: str) -> None:
    hidden = [c for text in UNSEEN for c in text if c not in "\u0301\u20dd"]
    for character in {*hidden, *BIDI, "\u0600", "\U000110bd", "\u0378", "/", " "}:
        for name in (character, f"acme{character}", f"{character}acme", f"ac{character}me"):
            assert [where for where, _ in errors_of(ProjectUpdate, {field: name})] == [field], (
                name.encode("unicode_escape")
            )
    for name in ("acme", "été", "e\u0301te\u0301", "한글", "a.b-c_d", "...", "💥", "ⓐ"):
        assert ProjectUpdate.model_validate({field: name}).given_fields() == {field: name}
    assert [where for where, _ in errors_of(ProjectUpdate, {field: "\u0301"})] == [field]


@given(
    st.characters(categories=["Cc", "Cf", "Cs", "Cn", "Co", "Zs", "Zl", "Zp"]),
    st.text(max_size=3),
    st.text(max_size=3),
)
def test_no_repository_has_a_character_of_these_categories(
    character: str, before: str, after: str
) -> None:
    name = f"{before}{character}{after}"
    for shape, more in ((ProjectUpdate, {}), (ProjectDocument, {"name": "n", "github_repo": "r"})):
        errors = errors_of(shape, {**more, "github_owner": name})
        assert [where for where, _ in errors] == ["github_owner"]


@given(st.text(st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"]), min_size=1))
def test_nothing_but_such_characters_is_no_name(name: str) -> None:
    assert [where for where, _ in errors_of(TokenCreate, {"name": name, "scopes": ["admin"]})] == [
        "name"
    ]


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cn"], exclude_characters=f"\0{BIDI}"), max_size=50
    )
)
def test_any_other_name_with_a_letter_is_kept_as_it_is(text: str) -> None:
    name = f"{text}a"
    assert ProjectUpdate.model_validate({"name": name}).name == name
    assert re.fullmatch(NAME_PATTERN.removesuffix("$"), name)


def test_the_document_knows_all_format_characters_up_to_ffff() -> None:
    repository = ProjectUpdate.model_json_schema()["properties"]["github_repo"]["pattern"]
    for number in range(0x10000):
        if unicodedata.category(chr(number)) == "Cf":
            assert not re.search(repository, f"a{chr(number)}")
            assert not re.search(NAME_PATTERN, chr(number))
