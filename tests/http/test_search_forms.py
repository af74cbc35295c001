"""A search finds a text in any Unicode form; answers return the form that was sent."""

import itertools
from collections.abc import Callable
from typing import Literal
from unicodedata import normalize

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.text_keys import text_key
from tests.support.http import make_project, problem
from tests.support.logs import log

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
TEXTS = ("Café", "GRÖẞE", "한글", "がぎ", "Ấn Độ", "Ǆ ὀδυσσεύς", "Å\u212b")


@pytest.mark.shared
@pytest.mark.parametrize("text", TEXTS)
async def test_a_name_is_found_in_any_form_and_case(client: httpx.AsyncClient, text: str) -> None:
    made = {form: await make_project(client, name=normalize(form, text)) for form in FORMS}
    for form, project in made.items():
        path = f"/api/projects/{project['id']}"
        assert (await client.get(path)).json()["name"] == normalize(form, text)
    cases: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower)
    for form, case in itertools.product(FORMS, cases):
        q = normalize(form, case(normalize("NFC", text))[1:])
        page = (await client.get("/api/projects", params={"q": q, "sort": "name"})).json()
        assert page["projects"] == list(made.values()), q


@pytest.mark.parametrize("text", ["Café", "한글", "がぎ"])
async def test_a_repository_is_the_same_in_any_form(client: httpx.AsyncClient, text: str) -> None:
    owner, repo = normalize("NFD", f"o-{text}"), normalize("NFC", f"r-{text}")
    project = await make_project(client, github_owner=owner, github_repo=repo)
    assert (project["github_owner"], project["github_repo"]) == (owner, repo)
    for forms in itertools.product(FORMS, FORMS):
        names = [
            normalize(form, name).upper() for form, name in zip(forms, (owner, repo), strict=True)
        ]
        assert (await client.get(f"/api/projects/by-repo/{names[0]}/{names[1]}")).json() == project
        listed = await client.get("/api/projects", params={"owner": names[0]})
        assert listed.json()["projects"] == [project]
        listed = await client.get("/api/projects", params={"q": "/".join(names)})
        assert listed.json()["projects"] == [project]
        body = {"name": "Other", "github_owner": names[0], "github_repo": names[1]}
        document = problem(await client.post("/api/projects", json=body), "project_exists")
        assert document["existing_id"] == project["id"]


async def test_a_repository_is_found_as_github_writes_it(client: httpx.AsyncClient) -> None:
    first = await make_project(client, name="One", github_owner="acme", github_repo="payments")
    await make_project(client, name="Two", github_owner="acme", github_repo="billing")
    for q in ("acme/payments", "ACME/Payments", "e/p", "acme/pay", "cme/payments"):
        page = (await client.get("/api/projects", params={"q": q})).json()
        assert page["projects"] == [first], q
    for q in (
        "payments/acme",
        "acme//payments",
        "acme / payments",
        "one/acme",
        "acme/%",
        "acme/p_y",
    ):
        page = (await client.get("/api/projects", params={"q": q})).json()
        assert page["projects"] == [], q


async def test_the_parts_of_a_search_follow_a_change(client: httpx.AsyncClient) -> None:
    project = await make_project(client, github_owner="acme", github_repo="payments")
    path = f"/api/projects/{project['id']}"
    for change, q in (
        ({"github_repo": "Cafe\u0301"}, "acme/café"),
        ({"github_owner": "Größe"}, "gro\u0308ße/caf"),
        ({"name": "Ange\u0301"}, "angé"),
    ):
        await client.patch(path, json=change)
        page = (await client.get("/api/projects", params={"q": q})).json()
        assert [found["id"] for found in page["projects"]] == [project["id"]]


@pytest.mark.shared
@pytest.mark.parametrize("text", TEXTS)
async def test_a_word_of_a_log_is_found_in_any_form(client: httpx.AsyncClient, text: str) -> None:
    for form in FORMS:
        sent = log(normalize(form, f"before {text} ≠ after"))
        assert (await client.post("/api/logs", json=sent)).status_code == 201
    for form in FORMS:
        for q in (f"{normalize(form, text)} AFTER", normalize(form, f"--- {text} ≠ ¿")):
            page = (await client.get("/api/logs", params={"q": q})).json()
            assert len(page["logs"]) == 2, (form, page)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_key_of_a_text_is_that_of_all_its_forms(text: str) -> None:
    key = text_key(text)
    assert key == text_key(normalize("NFC", text)) == text_key(normalize("NFD", text))
    assert key == text_key(key)
    assert key == normalize("NFC", key)
