"""Files of JUnit XML as tools write them, sent to a run.

pytest, Jest, mocha, Node and Playwright wrote theirs; the other files follow the formats that the
tools document. Times, hosts and paths were made neutral.
"""

# ruff: noqa: RUF001 - titles of tests have such characters

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.results.support import Json, listed, make_run, send_xml

FOLDER = Path(__file__).parent / "files"
FILES: dict[str, str] = {
    "dotnet.xml": """
        passed: Cart.Tests.CartTests.Adds
        passed: Cart.Tests.CartTests.AddsAmount(amount: 3, currency: "€")
        failed: Cart.Tests.CartTests.Fails
        skipped: Cart.Tests.CartTests.IsSkipped
    """,
    "googletest.xml": """
        passed: CartTest.Adds/0
        failed: CartTest.Fails
        skipped: CartTest.DISABLED_Refunds
    """,
    "gotestsum.xml": """
        passed: example.com/cart.TestAdds
        passed: example.com/cart.TestAdds/two_and_three
        passed: example.com/cart.TestAdds/#00
        skipped: example.com/cart.TestSkipped
        failed: example.com/cart.TestFails
        failed passed: example.com/cart.TestFlaky
        failed: TestMain
    """,
    "gradle.xml": """
        passed: com.example.CartTest.adds()
        passed: com.example.CartTest.[2] amount=3, currency=€
        skipped: com.example.CartTest.isSkipped()
        failed: com.example.CartTest.fails()
        failed passed: com.example.CartTest.retried()
    """,
    "jest-without-class-names.xml": """
        passed: cart adds.adds
        passed: cart adds 1 to 2.adds 1 to 2
        passed: cart adds 3 to 4.adds 3 to 4
        failed: cart fails.fails
        skipped: cart is skipped.is skipped
        passed: cart refunds.refunds
        passed: cart inner <a & b> é 💥 "quoted".é 💥 "quoted"
        passed failed: cart same title.same title
        passed:  passes at the third try.passes at the third try
        passed: cart
        error failed: Test suite failed to run.t/broken.test.js
    """,
    "jest.xml": """
        passed: cart adds.cart adds
        passed: cart adds 1 to 2.cart adds 1 to 2
        passed: cart adds 3 to 4.cart adds 3 to 4
        failed: cart fails.cart fails
        skipped: cart is skipped.cart is skipped
        passed: cart refunds.cart refunds
        passed: cart inner <a & b> é 💥 "quoted".cart inner <a & b> é 💥 "quoted"
        passed failed: cart same title.cart same title
        passed:  passes at the third try. passes at the third try
        passed: cart
    """,
    "maven-surefire.xml": """
        passed: com.example.CartTest.adds
        passed: com.example.CartTest.addsAmount(int, String)[1]
        passed: com.example.CartTest.addsAmount(int, String)[2]
        failed failed error: com.example.CartTest.failsAgain
        failed error passed: com.example.CartTest.passesAtTheThirdTry
        skipped: com.example.CartTest.isSkipped
        error: com.example.BrokenTest
    """,
    "mocha-xunit.xml": """
        passed: cart.adds
        failed: cart.fails
        skipped: cart.is skipped
        passed: cart
        passed: cart.passes at the second try
        passed: cart inner.nested
        failed: cart hook."before all" hook for "never runs"
    """,
    "mocha.xml": """
        passed: adds.cart adds
        failed: fails.cart fails
        passed: cart\x20\x20
        passed: passes at the second try.cart passes at the second try
        passed: nested.cart inner nested
        failed: "before all" hook for "never runs".cart hook "before all" hook for "never runs"
    """,
    "node.xml": """
        passed: test.adds
        failed: test.fails
        skipped: test.is skipped
        passed: test.nested
        passed: test.at the top
        skipped: test.todo
    """,
    "phpunit.xml": """
        passed: Tests.CartTest.testAdds
        passed: Tests.CartTest.testAddsAmount with data set #0
        failed: Tests.CartTest.testAddsAmount with data set "in euros"
        skipped: Tests.CartTest.testSkipped
        error: Tests.CartTest.testBreaksOff
    """,
    "playwright-with-retries.xml": """
        passed: cart.spec.js.[api] cart › adds
        failed failed failed: cart.spec.js.[api] cart › fails
        failed failed passed: cart.spec.js.[api] cart › is flaky
        skipped: cart.spec.js.[api] cart › is skipped
        skipped: cart.spec.js.[api] cart › is to be repaired
        error error error: cart.spec.js.[api] cart › takes too long
    """,
    "playwright.xml": """
        passed: cart.spec.js.[api] cart › adds
        failed: cart.spec.js.[api] cart › fails
        passed: cart.spec.js.[api] cart › is flaky
        skipped: cart.spec.js.[api] cart › is skipped
        skipped: cart.spec.js.[api] cart › is to be repaired
        error: cart.spec.js.[api] cart › takes too long
    """,
    "pytest-collection-error.xml": """
        error: test_broken_module
    """,
    "pytest-xunit1.xml": """
        passed: test_cart.test_adds[1]
        passed: test_cart.test_adds[2.5]
        passed: test_cart.test_adds[a b]
        passed: test_cart.test_adds[\\xe9\\U0001f4a5]
        passed: test_cart.test_adds[x<y&z]
        passed: test_cart.test_pairs[one-two]
        passed: test_cart.test_pairs[]
        passed: test_cart.test_prints
        failed: test_cart.test_fails
        skipped: test_cart.test_skipped
        skipped: test_cart.test_xfails
        error: test_cart.test_breaks_off
        error: test_cart.test_teardown
        passed: test_cart.TestCheckout.test_pays
        passed: test_cart.TestCheckout.test_with_subtests
        passed: test_cart.TestOuter.TestInner.test_nested
        failed failed passed: test_cart.test_flaky
        failed failed: test_cart.test_never_passes
    """,
    "pytest.xml": """
        passed: test_cart.test_adds[1]
        passed: test_cart.test_adds[2.5]
        passed: test_cart.test_adds[a b]
        passed: test_cart.test_adds[\\xe9\\U0001f4a5]
        passed: test_cart.test_adds[x<y&z]
        passed: test_cart.test_pairs[one-two]
        passed: test_cart.test_pairs[]
        passed: test_cart.test_prints
        failed: test_cart.test_fails
        skipped: test_cart.test_skipped
        skipped: test_cart.test_xfails
        error: test_cart.test_breaks_off
        error: test_cart.test_teardown
        passed: test_cart.TestCheckout.test_pays
        passed: test_cart.TestCheckout.test_with_subtests
        passed: test_cart.TestOuter.TestInner.test_nested
        failed failed passed: test_cart.test_flaky
        failed failed: test_cart.test_never_passes
    """,
}
"""What each file says: the statuses of each test's attempts, and the test's name."""


def told(text: str) -> dict[str, list[str]]:
    lines = [line.removeprefix(" " * 8).partition(": ") for line in text.splitlines()[1:-1]]
    return {name: statuses.split() for statuses, _, name in lines}


async def attempts(client: httpx.AsyncClient, run_id: int) -> dict[str, list[Json]]:
    """All attempts of a run by the name of their test, oldest first."""
    found: dict[str, list[Json]] = {}
    for result in reversed((await listed(client, run_id, attempts="all"))["test_results"]):
        found.setdefault(result["test_name"], []).append(result)
    return found


def test_every_file_is_tried() -> None:
    assert {path.name for path in FOLDER.iterdir()} == FILES.keys()


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_taken_as_its_tool_means_it(
    client: httpx.AsyncClient, run_id: int, name: str
) -> None:
    body = (FOLDER / name).read_bytes()
    expected = told(FILES[name])
    number = sum(map(len, expected.values()))
    counts = await send_xml(client, run_id, body)
    assert counts == {"created": number, "updated": 0, "unchanged": 0}
    found = await attempts(client, run_id)
    assert {test: [r["status"] for r in of_test] for test, of_test in found.items()} == expected
    for of_test in found.values():
        assert [r["attempt"] for r in of_test] == list(range(1, len(of_test) + 1))
        statuses = [r["status"] for r in of_test]
        is_flaky = statuses[-1] == "passed" and bool({"failed", "error"} & set(statuses))
        assert [r["flaky"] for r in of_test] == [False] * (len(of_test) - 1) + [is_flaky]
        assert {r["test_type"] for r in of_test} == {"junit"}
        for result in of_test:
            if result["status"] in ("failed", "error"):
                assert result["error_message"]
            elif result["status"] == "passed":
                assert result["error_message"] is None
    # The same bytes change nothing, also after other results.
    before = await listed(client, run_id, attempts="all")
    same = {"created": 0, "updated": 0, "unchanged": number}
    assert await send_xml(client, run_id, body) == same
    assert await listed(client, run_id, attempts="all") == before
    assert await send_xml(client, run_id, b"<testsuite/>") == {
        "created": 0,
        "updated": 0,
        "unchanged": 0,
    }
    assert await send_xml(client, run_id, body) == same
    assert await listed(client, run_id, attempts="all") == before


async def one(client: httpx.AsyncClient, run_id: int, name: str, test: str) -> list[Json]:
    await send_xml(client, run_id, (FOLDER / name).read_bytes())
    return (await attempts(client, run_id))[test]


async def test_what_pytest_says_of_a_test(client: httpx.AsyncClient, run_id: int) -> None:
    (printed,) = await one(client, run_id, "pytest-xunit1.xml", "test_cart.test_prints")
    data = printed["result_data"]
    assert printed["duration_seconds"] is not None
    assert data["suites"] == ["pytest tests", "pytest"]
    assert data["classname"] == "test_cart"
    assert data["attributes"] == {"file": "test_cart.py", "line": "9"}
    assert data["properties"] == [
        {"name": "ticket", "value": "SHOP-17"},
        {"name": "ticket", "value": "SHOP-18"},
    ]
    assert "out ]]> & <tag>" in data["system_out"]
    assert "red" in data["system_err"]
    found = await attempts(client, run_id)
    assert "the total is wrong" in found["test_cart.test_fails"][0]["error_message"]
    assert found["test_cart.test_skipped"][0]["result_data"]["reason"].endswith(
        "needs a card reader"
    )
    assert "failed on setup" in found["test_cart.test_breaks_off"][0]["error_message"]
    again = "pytest ran the test again, and did not report why this attempt failed"
    assert [r["error_message"] for r in found["test_cart.test_flaky"]] == [again, again, None]
    never = found["test_cart.test_never_passes"]
    assert never[0]["error_message"] == again
    assert never[1]["error_message"].startswith("@pytest.mark.flaky(reruns=1)")


async def test_what_maven_says_of_tests(client: httpx.AsyncClient, run_id: int) -> None:
    first, second, third = await one(
        client, run_id, "maven-surefire.xml", "com.example.CartTest.failsAgain"
    )
    assert first["duration_seconds"] == 0.01
    assert first["error_message"].startswith("org.opentest4j.AssertionFailedError: expected: <4>")
    assert first["result_data"]["types"] == ["org.opentest4j.AssertionFailedError"]
    assert "was: <5>" in second["error_message"]
    assert second["result_data"]["system_out"] == "second try"
    assert (third["duration_seconds"], third["result_data"]["types"]) == (
        None,
        ["java.io.IOException"],
    )
    found = await attempts(client, run_id)
    (long,) = found["com.example.CartTest.addsAmount(int, String)[2]"]
    assert long["duration_seconds"] == 1200.5
    (skipped,) = found["com.example.CartTest.isSkipped"]
    assert skipped["result_data"]["reason"] == "needs a card reader"


async def test_what_other_tools_say_of_tests(client: httpx.AsyncClient, run_id: int) -> None:
    (of_set,) = await one(
        client,
        run_id,
        "phpunit.xml",
        'Tests.CartTest.testAddsAmount with data set "in euros"',
    )
    assert of_set["result_data"]["suites"] == [
        "/src/phpunit.xml",
        "unit",
        "Tests\\CartTest",
        "Tests\\CartTest::testAddsAmount",
    ]
    assert "matches expected 4" in of_set["error_message"]
    other = (await make_run(client))["id"]
    tried = await one(
        client, other, "playwright-with-retries.xml", "cart.spec.js.[api] cart › is flaky"
    )
    assert [r["flaky"] for r in tried] == [False, False, True]
    assert tried[2]["result_data"]["properties"] == [{"name": "issue", "value": "SHOP-17"}]
    summary = (await listed(client, other))["summary"]
    assert summary == {"passed": 2, "failed": 1, "skipped": 2, "error": 1, "flaky": 1}
    third = (await make_run(client))["id"]
    (small,) = await one(
        client, third, "dotnet.xml", 'Cart.Tests.CartTests.AddsAmount(amount: 3, currency: "€")'
    )
    assert small["duration_seconds"] == 1.2e-05


async def test_the_type_of_results_can_be_given(client: httpx.AsyncClient, run_id: int) -> None:
    body = (FOLDER / "gotestsum.xml").read_bytes()
    for params, test_type in (({}, "junit"), ({"test_type": "go unit"}, "go unit")):
        counts = await send_xml(client, run_id, body, **params)
        assert counts == {"created": 8, "updated": 0, "unchanged": 0}
        page = await listed(client, run_id, test_type=test_type)
        assert len(page["test_results"]) == 7
    assert (await listed(client, run_id))["summary"]["flaky"] == 2


async def test_a_file_completes_what_was_announced(client: httpx.AsyncClient, run_id: int) -> None:
    announced: list[dict[str, Any]] = [
        {"test_type": "junit", "test_name": f"com.example.CartTest.{name}", "status": status}
        for name, status in (("retried()", "running"), ("adds()", "pending"), ("fails()", "error"))
    ]
    answer = await client.post(
        f"/api/agent-runs/{run_id}/test-results", json={"test_results": announced}
    )
    assert answer.status_code == 201
    body = (FOLDER / "gradle.xml").read_bytes()
    assert await send_xml(client, run_id, body) == {"created": 4, "updated": 2, "unchanged": 0}
    found = await attempts(client, run_id)
    assert {
        name.removeprefix("com.example.CartTest."): [r["status"] for r in of_test]
        for name, of_test in found.items()
    } == {
        "retried()": ["failed", "passed"],
        "adds()": ["passed"],
        "fails()": ["error", "failed"],
        "[2] amount=3, currency=€": ["passed"],
        "isSkipped()": ["skipped"],
    }
