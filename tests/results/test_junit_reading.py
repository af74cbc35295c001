"""Random JUnit XML, written by the standard library and read against a model."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from backend.errors import BadRequest, ValidationFailed
from backend.services.runs.junit_results import read_junit
from backend.services.runs.junit_xml import seconds

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn"]), max_size=8
)
NAME = st.text(st.sampled_from("abc. [é💥]<>&'\"/:"), min_size=1, max_size=6).filter(
    lambda text: not text.isspace()
)
STATUSES = {"failure": "failed", "error": "error", "skipped": "skipped", None: "passed"}
REPEATS = {"rerunFailure": "failed", "rerunError": "error"}
FLAKES = {"flakyFailure": "failed", "flakyError": "error"}
CASE = st.fixed_dictionaries(
    {
        "classname": st.sampled_from(["", " "]) | NAME,
        "name": NAME,
        "time": st.none() | st.floats(0, 1e6).map(lambda value: round(value, 3)),
        "result": st.sampled_from(list(STATUSES)),
        "message": TEXT,
        "text": TEXT,
        "repeats": st.lists(st.sampled_from(["Failure", "Error"]), max_size=2),
        "out": st.none() | TEXT,
        "properties": st.lists(st.tuples(TEXT, TEXT), max_size=2),
        "unknown": st.booleans(),
    }
)
Suites = list[Any]
SUITE: st.SearchStrategy[Suites] = st.recursive(
    st.lists(CASE, max_size=3), lambda inner: st.lists(inner | CASE, max_size=3), max_leaves=8
)


def write(parent: Element, parts: Suites, names: tuple[str, ...], expected: list[Any]) -> None:
    for number, part in enumerate(parts):
        if isinstance(part, list):
            name = f"suite {number}" if number % 2 else ""
            suite = SubElement(parent, "testsuite", {"name": name} if name else {})
            write(suite, part, (*names, name) if name else names, expected)
        else:
            write_case(parent, part, names, expected)


def write_case(
    parent: Element, case: dict[str, Any], names: tuple[str, ...], expected: list[Any]
) -> None:
    attributes = {name: case[name] for name in ("classname", "name")}
    if case["time"] is not None:
        attributes["time"] = str(case["time"])
    element = SubElement(parent, "testcase", attributes)
    if case["properties"]:
        properties = SubElement(element, "properties")
        for name, value in case["properties"]:
            SubElement(properties, "property", {"name": name, "value": value})
    if case["unknown"]:
        SubElement(SubElement(element, "attachments"), "failure").text = "not a result"
    result = case["result"]
    if result is not None:
        SubElement(element, result, {"message": case["message"]}).text = case["text"]
    has_failed = result in ("failure", "error")
    prefix = "rerun" if has_failed else "flaky"
    for kind in case["repeats"]:
        SubElement(element, prefix + kind, {"message": "again"})
    if case["out"] is not None:
        SubElement(element, "system-out").text = case["out"]
    of_class = case["classname"].strip(" ") and f"{case['classname']}."
    test = f"{of_class}{case['name']}"
    others = [{"Failure": "failed", "Error": "error"}[kind] for kind in case["repeats"]]
    statuses = [STATUSES[result], *others] if has_failed else [*others, STATUSES[result]]
    own = 0 if has_failed else len(others)
    for at, status in enumerate(statuses):
        expected.append((test, status, case if at == own else None, names))


@settings(max_examples=120, deadline=None)
@given(SUITE, st.sampled_from(["utf-8", "utf-16", "us-ascii"]))
def test_what_was_written_is_read(parts: Suites, encoding: str) -> None:
    root = Element("testsuites")
    expected: list[Any] = []
    write(root, parts, (), expected)
    body = tostring(root, encoding=encoding, xml_declaration=True)
    results = read_junit(body, "unit").results
    assert [(r.test, r.content.status) for r in results] == [
        (("unit", test), status) for test, status, _, _ in expected
    ]
    for result, (_, status, case, names) in zip(results, expected, strict=True):
        data = json.loads(result.content.result_data or "{}")
        assert data.get("suites", []) == list(names)
        if case is None:
            assert result.content.error_message == "again"
            continue
        assert result.content.duration_seconds == case["time"]
        assert [(p["name"], p["value"]) for p in data.get("properties", [])] == case["properties"]
        assert data.get("system_out", "") == (case["out"] or "")
        message = result.content.error_message or ""
        if status in ("failed", "error"):
            assert case["text"].strip() in message
            assert case["message"].strip() in message
        else:
            assert message == ""
    same = read_junit(body, "unit")
    assert same.digest == read_junit(body, "unit").digest
    assert len({same.digest, read_junit(body, "e2e").digest}) == 2


PARTS = ("failure", "error", "skipped", "rerunFailure", "flakyError", "system-out")


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.lists(st.tuples(st.sampled_from(PARTS), st.booleans()), max_size=3),
        ),
        max_size=6,
    )
)
def test_whatever_is_said_in_the_name_of_pytest_is_read(cases: list[Any]) -> None:
    root = Element("testsuite", {"name": "pytest"})
    for name, parts in cases:
        element = SubElement(root, "testcase", {"name": name})
        for tag, of_teardown in parts:
            message = "failed on teardown with x" if of_teardown else "m"
            SubElement(element, tag, {"message": message}).text = "t"
    results = read_junit(tostring(root), "junit").results
    assert [result.test.test_name for result in results] == list(expected_of(cases))


def expected_of(cases: list[Any]) -> Iterator[str]:
    """The names of the results: one for each case and each repeated try, but none for a case that
    only tells of a broken clean-up, and whose test has just failed once."""
    failed: set[str] = set()
    for name, parts in cases:
        said = [part for part in parts if part[0] != "system-out"]
        if said == [("error", True)] and name in failed:
            failed.remove(name)
            continue
        tags = [tag for tag, _ in said]
        tries = 1 + tags.count("rerunFailure") + tags.count("flakyError")
        yield from [name] * tries
        is_failed = "failure" in tags and not {"error", "skipped"} & set(tags)
        (failed.add if is_failed and tries == 1 else failed.discard)(name)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60) | st.text("<>/ 'testsuitecase=&;![]?-", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for whole in (body, b"<testsuite>" + body + b"</testsuite>"):
        with suppress(BadRequest, ValidationFailed):
            read_junit(whole, "junit")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("0", 0.0),
        ("0.", 0.0),
        (".5", 0.5),
        ("0.001", 0.001),
        (" 1.5 ", 1.5),
        ("1.2E-05", 1.2e-05),
        ("1,234.5", 1234.5),
        ("1,234,567.5", 1234567.5),
        ("1,234", 1234.0),
        ("0,123", 0.123),
        ("12,5", 12.5),
        (",5", 0.5),
        ("1.234,5", 1234.5),
        ("1.234.567,5", 1234567.5),
    ],
)
def test_durations_of_tools(text: str | None, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["-1", "-0.001", "nan", "inf", "x", "1_0", "1 2", "1e999", "0x1", "1.2.3", "1,2.3,4"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="a number of seconds, 0 or more"):
        seconds(text)
