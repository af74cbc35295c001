"""The documentation's examples in JavaScript run as they are pasted: each page from top to bottom,
in Chromium, with a new server. `make browser` runs these tests."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import served_pages
from tests.browser.restarts import Restarts
from tests.support.http import new_project
from tests.support.processes import PATIENCE
from tests.test_examples import BLOCKS, SERVER

SCRIPTS: dict[str, str] = {}
for block in BLOCKS:
    if block.info == "js":
        SCRIPTS[block.page] = SCRIPTS.get(block.page, "") + block.text

PROOFS = {
    "docs/access.md": """
        const {name} = await (await fetch("/api/projects/1")).json()
        must(name === "Payments", "the project has its new name")
    """,
    "docs/front-end.md": """
        const until = async fits => { while (!fits()) await pause(20) }
        await until(() => shown.some(({id}) => id === run.id))
        await call("POST", `/api/agent-runs/${run.id}/cancel`)
        await until(() => shown[0].status === "cancelled")

        const heard = []
        const talking = converse(run, ({content}) => heard.push(content))
        const hello = {body: {role: "user", content: "Hello"}}
        await call("POST", `/api/agent-runs/${run.id}/messages`, hello)
        await until(() => heard.includes("Hello"))
        talking.close()

        const {value, etag} = await call("GET", "/api/projects/1/configuration")
        must(value.setup_commands === "npm ci", "the configuration is saved")
        const {saved} = await save(etag, {setup_commands: "make"})
        const {theirs} = await save(etag, {setup_commands: "overwritten"})
        must(saved.setup_commands === "make", "the second change is saved")
        must(theirs.value.setup_commands === "make", "nothing is overwritten")

        const path = "/api/projects/1/agent-runs"
        const sent = {body: {target_text: "Twice"}, headers: {"Idempotency-Key": "one"}}
        const first = await insist("POST", path, sent)
        const again = await insist("POST", path, sent)
        must(first.value.id === again.value.id, "a run is made once")

        const wrong = {body: {name: ""}}
        const problem = await call("PATCH", "/api/projects/1", wrong).catch(error => error)
        must(problem instanceof Problem && problem.code === "validation_failed", "it is refused")
        must(problem.errors[0].pointer === "/name" && problem.requestId, "the place is told")
    """,
}
"""What a page's examples must have done, or make possible."""
IN_TIME = """
([token, patience]) => {
const must = (holds, what) => { if (!holds) throw new Error(`it does not hold that ${what}`) }
return Promise.race([
  (async () => { EXAMPLES })(),
  new Promise((_, reject) => setTimeout(reject, patience, new Error("it took too long"))),
])
}
"""
NOT_WELL = {"docs/front-end.md": [412, 422]}
"""The statuses of errors that the proofs cause."""


def test_every_page_has_a_proof() -> None:
    assert set(SCRIPTS) == set(PROOFS)


@pytest.mark.long
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_examples_of_a_page_run_as_they_are_pasted(
    name: str, tmp_path: Path, chromium: Any
) -> None:
    with served_pages() as port:
        origin = f"http://127.0.0.1:{port}"
        with Restarts(tmp_path / "data", CORS_ORIGINS=origin) as service:
            with service.client() as client:
                assert client.post("/api/projects", json=new_project()).status_code == 201
            script = SCRIPTS[name]
            # Scripts run on the service's own pages too, whose policy forbids them.
            context = chromium.new_context(bypass_csp=True)
            page = context.new_page()
            # Examples that don't name the service are of its own pages.
            page.goto(origin if SERVER in script else f"{service.url}/health")
            statuses: list[int] = []
            page.on("response", lambda answer: statuses.append(answer.status))
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            text = script.replace(SERVER, service.url.removeprefix("http://")) + PROOFS[name]
            page.evaluate(IN_TIME.replace("EXAMPLES", text), [service.token, 1000 * PATIENCE])
            context.close()
    assert errors == []
    assert statuses
    assert sorted({one for one in statuses if one >= 400}) == NOT_WELL.get(name, [])
