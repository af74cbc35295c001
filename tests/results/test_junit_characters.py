"""Characters that XML does not allow, as some tools write them all the same."""

import httpx
import pytest

from backend.services.runs.junit_results import read_junit
from backend.services.runs.xml_characters import allowed
from tests.results.support import listed, send_xml


def test_what_is_no_character_of_xml_becomes_a_question_mark() -> None:
    for code in range(0x80):
        is_forbidden = code < 0x20 and chr(code) not in "\t\n\r"
        written = (b"%c", b"&#%d;", b"&#00%d;", b"&#x%x;", b"&#x%X;", b"&#x00%x;")
        for text in (b"a" + form % code + b"b" for form in written):
            assert allowed(text) == (b"a?b" if is_forbidden else text)
        # XML knows no capital X here.
        assert allowed(b"&#X%x;" % code) == b"&#X%x;" % code


def test_other_bytes_stay_as_they_are() -> None:
    every = "".join(map(chr, [9, 10, 13, *range(0x20, 0x300), 0x20AC, 0x1F4A5])).encode()
    assert allowed(every) == every
    assert allowed("<a>\u0100\u1b1b</a>".encode("utf-16")) == "<a>\u0100\u1b1b</a>".encode("utf-16")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"<![CDATA[&#1;]]>&#1;", b"<![CDATA[&#1;]]>?"),
        (b"&#1;<![CDATA[a]]>&#1;<![CDATA[&#1;", b"?<![CDATA[a]]>?<![CDATA[&#1;"),
        (b"<![CDATA[<![CDATA[&#1;]]>&#1;]]>&#1;", b"<![CDATA[<![CDATA[&#1;]]>?]]>?"),
        (b"<![CDATA[\x1b]]>", b"<![CDATA[?]]>"),
        (b"&#1;&#2&#3;&#38;#4;", b"?&#2?&#38;#4;"),
    ],
)
def test_cdata_has_no_references(text: bytes, found: bytes) -> None:
    assert allowed(text) == found


@pytest.mark.parametrize("text", [b"&#1;", b"<![CDATA[&#1;", b"<![CDATA[]]>&#1;", b"&#", b"&#x0"])
def test_each_byte_is_looked_at_once(text: bytes) -> None:
    # This would take hours if what begins were looked for to the end each time.
    body = text * (256 * 1024 // len(text))
    assert len(allowed(body)) <= len(body)


async def test_messages_with_colours_are_taken(client: httpx.AsyncClient, run_id: int) -> None:
    message = b"\x1b[31mred\x1b[0m &#x1B;[32mgreen&#27;[0m &amp;#27; \0"
    case = b"<testcase name='%b'><failure message='%b'>%b<![CDATA[ &#27;]]></failure></testcase>"
    body = b"<testsuite>" + case % (b"a \x1b b", message, message) + b"</testsuite>"
    await send_xml(client, run_id, body)
    (result,) = (await listed(client, run_id))["test_results"]
    assert result["test_name"] == "a ? b"
    assert result["error_message"] == "?[31mred?[0m ?[32mgreen?[0m &#27; ? &#27;"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_each_encoding_is_read_with_and_without_its_mark(encoding: str) -> None:
    named = encoding.removesuffix("-sig").removesuffix("-le").removesuffix("-be")
    text = f"<?xml version='1.0' encoding='{named}'?><testsuite><testcase name='é Āਛ'/></testsuite>"
    if encoding.endswith(("-le", "-be")):
        text = text.replace("utf-16", encoding[:6])
    (result,) = read_junit(text.encode(encoding), "junit").results
    assert result.test.test_name == "é Āਛ"
