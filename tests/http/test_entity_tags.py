"""Entity tags: those that headers name, and those of answers."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from backend.errors import BadRequest
from backend.http.conditional import Tagging
from backend.http.entity_tags import IF_MATCH, content_tag_of, members, read_tags, version_tag_of
from backend.http.guarded_route import GuardedRouter
from backend.http.route_policy import reads
from models import UNVERSIONED, Scope

TAGS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'))


@given(st.lists(st.tuples(st.booleans(), TAGS), min_size=1), st.sampled_from([",", ", ", " ,,\t"]))
def test_every_list_of_tags_is_read(tags: list[tuple[bool, str]], separator: str) -> None:
    value = separator.join(f'{"W/" if weak else ""}"{tag}"' for weak, tag in tags)
    found = read_tags(IF_MATCH, value.encode())
    for weak, tag in tags:
        quoted = f'"{tag}"'
        assert found.have_weakly(quoted)
        assert found.have_weakly(f"W/{quoted}")
        assert found.have_strongly(quoted) is ((False, tag) in tags)
        assert not found.have_strongly(f"W/{quoted}")
        assert weak or found.have_strongly(quoted)


_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_VALID = re.compile(
    rb"[ \t,]*%b[ \t]*(?:,[ \t]*(?:%b[ \t]*)?)*|[ \t]*[*][ \t]*" % (_TAG, _TAG), re.DOTALL
)


def test_a_header_of_very_many_tags_is_refused() -> None:
    tags = b", ".join(b'"v%d"' % number for number in range(900))
    assert read_tags(IF_MATCH, tags).have_strongly('"v899"')
    with pytest.raises(BadRequest, match="If-Match may have at most 8192 bytes"):
        read_tags(IF_MATCH, tags * 2)


@example('"v1"\n')
@given(
    st.text('"*W/, \tv', max_size=12) | st.binary(max_size=12).map(lambda b: b.decode("latin-1"))
)
def test_any_header_is_read_or_refused(text: str) -> None:
    value = text.encode("latin-1")
    if _VALID.fullmatch(value):
        read_tags(IF_MATCH, value)
    else:
        with pytest.raises(BadRequest, match="If-Match"):
            read_tags(IF_MATCH, value)


SMALL = st.binary(max_size=60)


@given(SMALL, SMALL, st.integers(0, 3))
def test_equal_content_has_equal_tags_and_other_content_another(
    first: bytes, second: bytes, large: int
) -> None:
    padding = b"x" * (large * 2047)
    tags = [content_tag_of(padding + body, None) for body in (first, second)]
    assert (tags[0] == tags[1]) is (first == second)


def test_members_without_versions_do_not_count_wherever_they_stand() -> None:
    pattern = members(UNVERSIONED)
    for name in UNVERSIONED:
        texts = [
            b'{"a":1,"%b":%b,"b":"x"}' % (name.encode(), value) for value in (b"null", b'"2026"')
        ]
        assert content_tag_of(texts[0], pattern) == content_tag_of(texts[1], pattern)
        others = [b'{"m":"\\"%b\\":\\"%b\\""}' % (name.encode(), v) for v in (b"1", b"2")]
        assert content_tag_of(others[0], pattern) != content_tag_of(others[1], pattern)


def test_the_version_is_the_resource_s_own() -> None:
    assert version_tag_of(b'{"id":1,"t":"\\"version\\":7,","version":3,"m":{"version":4}}') == (
        b'"v3"'
    )
    assert version_tag_of(b'{"version":0}') == b'"v0"'
    # Another program has put a text there.
    assert version_tag_of(b'{"version":"3","m":{"version":4}}') is None
    assert version_tag_of(b"{}") is None


def test_a_shape_whose_version_could_be_mistaken_is_refused() -> None:
    class Late(BaseModel):
        id: int
        metadata: dict[str, Any]
        version: int

    row = reads(Scope.PROJECTS_READ)
    router = GuardedRouter(tag="test", prefix="/x", policies={("GET", "/x"): row})

    async def answer() -> Late:
        return Late(id=1, metadata={}, version=1)

    with pytest.raises(TypeError, match="before `metadata`"):
        router.get("")(answer)
    plain = reads(Scope.PROJECTS_READ, is_conditional=False)
    router = GuardedRouter(tag="test", prefix="/x", policies={("GET", "/x"): plain})
    router.get("")(answer)
    [route] = router.guarded_routes
    assert route.tagging == Tagging()
