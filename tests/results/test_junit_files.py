"""Files of JUnit XML as tools write them, sent to a run.

Nearly all of them were written by the tools: `files/README.md` tells which, and how. The rows that
each file becomes stand beside it.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.results.support import Json, listed, make_run, send_xml

FOLDER = Path(__file__).parent / "files"
FILES = sorted(path.name for path in FOLDER.glob("*.xml"))


def rows_of(name: str) -> list[Json]:
    """The results that a file becomes, in its order: status, seconds, name, and how the message
    begins."""
    names = ("status", "duration_seconds", "test_name", "message")
    rows = json.loads((FOLDER / name).with_suffix(".json").read_text())
    return [dict(zip(names, row, strict=True)) for row in rows]


async def attempts(client: httpx.AsyncClient, run_id: int) -> dict[str, list[Json]]:
    """All attempts of a run by the name of their test, oldest first."""
    found: dict[str, list[Json]] = {}
    for result in reversed(
        (await listed(client, run_id, attempts="all", limit=500))["test_results"]
    ):
        found.setdefault(result["test_name"], []).append(result)
    return found


def row_of(result: Json) -> Json:
    message = result["error_message"]
    return {
        **{name: result[name] for name in ("status", "duration_seconds", "test_name")},
        "message": message and message.splitlines()[0],
    }


def test_every_file_has_rows_and_a_line_in_the_readme() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {Path(name).stem for name in FILES}
    described = (FOLDER / "README.md").read_text()
    assert {name for name in FILES if f"`{name}`" not in described} == set()


def test_files_hold_no_places_of_the_machine_that_wrote_them() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text()
        for place in ("tmp", "home", "root", "work"):
            assert f"/{place}/" not in text, name


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_taken_as_its_tool_means_it(
    client: httpx.AsyncClient, run_id: int, name: str
) -> None:
    body = (FOLDER / name).read_bytes()
    expected = rows_of(name)
    counts = await send_xml(client, run_id, body)
    assert counts == {"created": len(expected), "updated": 0, "unchanged": 0}
    found = await attempts(client, run_id)
    for test, of_test in found.items():
        assert [row_of(r) for r in of_test] == [r for r in expected if r["test_name"] == test]
        assert [r["attempt"] for r in of_test] == list(range(1, len(of_test) + 1))
        statuses = [r["status"] for r in of_test]
        is_flaky = statuses[-1] == "passed" and bool({"failed", "error"} & set(statuses))
        assert [r["flaky"] for r in of_test] == [False] * (len(of_test) - 1) + [is_flaky]
        assert {r["test_type"] for r in of_test} == {"junit"}
    assert list(found) == list(dict.fromkeys(row["test_name"] for row in expected))
    # The same bytes change nothing, also after other results.
    before = await listed(client, run_id, attempts="all")
    same = {"created": 0, "updated": 0, "unchanged": len(expected)}
    assert await send_xml(client, run_id, body) == same
    assert await listed(client, run_id, attempts="all") == before
    await send_xml(client, run_id, b"<testsuite/>")
    assert await send_xml(client, run_id, body) == same
    assert await listed(client, run_id, attempts="all") == before


async def one(client: httpx.AsyncClient, run_id: int, name: str, test: str) -> list[Json]:
    await send_xml(client, run_id, (FOLDER / name).read_bytes())
    return (await attempts(client, run_id))[test]


async def test_what_pytest_says_of_a_test(client: httpx.AsyncClient, run_id: int) -> None:
    (printed,) = await one(client, run_id, "pytest-xunit1.xml", "test_cart.test_prints")
    data = printed["result_data"]
    assert data["suites"] == ["pytest tests", "pytest"]
    assert data["classname"] == "test_cart"
    assert data["attributes"] == {"file": "test_cart.py", "line": "15"}
    assert data["properties"] == [
        {"name": "ticket", "value": "SHOP-17"},
        {"name": "ticket", "value": "SHOP-18"},
    ]
    assert "out ]]> & <tag> #x1B[31mred#x1B[0m #x00" in data["system_out"]
    assert "a warning" in data["system_out"]
    assert "err" in data["system_err"]
    found = await attempts(client, run_id)
    (skipped,) = found["test_cart.test_skipped"]
    assert skipped["result_data"]["reason"].endswith("needs a card reader")
    (subtests,) = found["test_cart.test_with_subtests"]
    assert "assert 2 != 2" in subtests["error_message"]
    assert "contains 1 failed subtest" in subtests["error_message"]
    never = found["test_cart.test_never_passes"]
    again = "pytest ran the test again, and did not report why this attempt failed"
    assert never[0]["error_message"] == again
    assert "assert 1 == 2" in never[1]["error_message"]


@pytest.mark.parametrize("name", ["pytest.xml", "pytest-xunit1.xml", "pytest-xdist.xml"])
async def test_a_test_that_fails_and_does_not_clean_up_is_one_attempt(
    client: httpx.AsyncClient, run_id: int, name: str
) -> None:
    (twice,) = await one(client, run_id, name, "test_cart.test_fails_twice")
    found = await attempts(client, run_id)
    (_, again) = found["test_cart.test_fails_twice_again"]
    for result in (twice, again):
        assert "assert 1 == 2" in result["error_message"]
        assert "failed on teardown with" in result["error_message"]
    # What is skipped, and then breaks, has broken.
    (skipped,) = found["test_cart.test_is_skipped_and_breaks"]
    assert skipped["result_data"]["reason"].endswith("needs a card reader")


async def test_what_maven_says_of_tests(client: httpx.AsyncClient, run_id: int) -> None:
    first, second, third = await one(
        client, run_id, "maven-with-reruns.xml", "com.example.CartTest.failsEachTime"
    )
    for number, result in ((1, first), (2, second), (3, third)):
        assert result["result_data"]["system_out"].startswith(f"try {number} ]]> & <tag> ")
    assert first["result_data"]["types"] == ["java.lang.AssertionError"]
    assert "at com.example.CartTest.fails(CartTest.java:" in second["error_message"]
    assert third["result_data"]["types"] == ["java.io.IOException"]
    found = await attempts(client, run_id)
    tried = found["com.example.CartTest.passesAtTheThirdTry"]
    assert [r["flaky"] for r in tried] == [False, False, True]
    assert tried[1]["result_data"]["system_err"] == "try 2\n"
    (skipped,) = found["com.example.CartTest.isIgnored"]
    assert skipped["result_data"]["reason"] == "needs a card reader"


async def test_what_other_tools_say_of_tests(client: httpx.AsyncClient, run_id: int) -> None:
    (of_set,) = await one(
        client,
        run_id,
        "phpunit.xml",
        'Tests.CartTest.testAddsAmount with data set "in euros"',
    )
    assert of_set["result_data"]["suites"] == [
        "unit",
        "Tests\\CartTest",
        "Tests\\CartTest::testAddsAmount",
    ]
    assert "matches expected 4" in of_set["error_message"]
    other = (await make_run(client))["id"]
    await send_xml(client, other, (FOLDER / "playwright-with-retries.xml").read_bytes())
    (tried,) = [
        of_test
        for name, of_test in (await attempts(client, other)).items()
        if name.endswith("is flaky")
    ]
    assert [r["flaky"] for r in tried] == [False, False, True]
    assert tried[2]["result_data"]["properties"] == [{"name": "issue", "value": "SHOP-17"}]
    summary = (await listed(client, other))["summary"]
    assert summary == {"passed": 4, "failed": 2, "skipped": 3, "error": 3, "flaky": 1}
    third = (await make_run(client))["id"]
    (said,) = await one(client, third, "googletest.xml", "CartTest.Fails")
    # Two failures of one test, whose texts are split into several sections of CDATA.
    assert said["error_message"].count("cart_test.cc:") == 2
    assert "the total ]]> & <tag> " in said["error_message"]


async def test_the_type_of_results_can_be_given(client: httpx.AsyncClient, run_id: int) -> None:
    rows = rows_of("gotestsum.xml")
    body = (FOLDER / "gotestsum.xml").read_bytes()
    for params, test_type in (({}, "junit"), ({"test_type": "go unit"}, "go unit")):
        counts = await send_xml(client, run_id, body, **params)
        assert counts == {"created": len(rows), "updated": 0, "unchanged": 0}
        page = await listed(client, run_id, test_type=test_type)
        assert len(page["test_results"]) == len({row["test_name"] for row in rows})
    assert (await listed(client, run_id))["summary"]["flaky"] == 2


async def test_a_file_completes_what_was_announced(client: httpx.AsyncClient, run_id: int) -> None:
    announced: list[dict[str, Any]] = [
        {"test_type": "junit", "test_name": f"com.example.CartTest.{name}", "status": status}
        for name, status in (
            ("passesAtTheThirdTry", "running"),
            ("adds", "pending"),
            ("failsTwiceAlone", "failed"),
        )
    ]
    answer = await client.post(
        f"/api/agent-runs/{run_id}/test-results", json={"test_results": announced}
    )
    assert answer.status_code == 201
    body = (FOLDER / "maven-with-reruns.xml").read_bytes()
    assert await send_xml(client, run_id, body) == {"created": 10, "updated": 2, "unchanged": 0}
    assert {
        name.removeprefix("com.example.CartTest."): [r["status"] for r in of_test]
        for name, of_test in (await attempts(client, run_id)).items()
    } == {
        "passesAtTheThirdTry": ["failed", "error", "passed"],
        "adds": ["passed"],
        "failsTwiceAlone": ["failed", "error", "error", "error"],
        "isIgnored": ["skipped"],
        "isSkipped": ["skipped"],
        "failsEachTime": ["failed", "failed", "error"],
    }
