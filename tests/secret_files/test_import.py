"""Dotenv files over HTTP: imported as a whole or not at all, and previewed without effect."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.schemas.dotenv_reading import MAX_DOTENV_BYTES
from backend.schemas.environment_files import RevealFormat
from tests.http.sentinels import Sentinels
from tests.secret_files.files import carried, nasty_values
from tests.support.clients import AsToken
from tests.support.http import all_rows, make_project, manager_of, places, problem

SECRETS = "/api/projects/1/secrets"
IMPORT = f"{SECRETS}/import"
FILE = "# made up\nA='changed'\nexport B=same\nC=new # a comment\n"
REVEALED = (("A", 2), ("B", 1), ("C", 1), ("OTHER", 1))
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


async def send(
    client: httpx.AsyncClient, text: str, query: str = "", path: str = IMPORT, **headers: str
) -> httpx.Response:
    return await client.post(path + query, content=text.encode(), headers=PLAIN | headers)


async def revealed(client: httpx.AsyncClient, project_id: int = 1) -> dict[str, str]:
    answer = await client.post(f"/api/projects/{project_id}/secrets/reveal")
    values: dict[str, str] = answer.json()["secrets"]
    return values


def stored(app: FastAPI) -> dict[str, list[dict[str, Any]]]:
    """All rows without those that every request may change."""
    rows = dict(all_rows(manager_of(app)))
    rows["api_tokens"] = [{**row, "last_used_at": None} for row in rows["api_tokens"]]
    return rows


@pytest.fixture
async def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The admin's client, with a project whose secrets A and B `FILE` names."""
    secrets = [{"key": key, "value": "same"} for key in ("A", "B", "OTHER")]
    await make_project(client, secrets=secrets)
    return client


async def test_a_file_is_imported_as_a_whole(client: httpx.AsyncClient) -> None:
    answer = await send(client, FILE)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"created": ["C"], "updated": ["A"], "unchanged": ["B"], "rejected": []}
    assert await revealed(client) == {"A": "changed", "B": "same", "C": "new", "OTHER": "same"}
    again = await client.post(IMPORT, json={"dotenv": FILE})
    assert again.json() == {
        "created": [],
        "updated": [],
        "unchanged": ["A", "B", "C"],
        "rejected": [],
    }
    entries = (await client.get("/api/audit?limit=500")).json()["entries"]
    changes = [(one["action"], one["target"], one["version"]) for one in reversed(entries)]
    # After the project's own secrets: as many as there were values to set.
    assert [change for change in changes if change[0].startswith("secret.")][3:] == [
        ("secret.updated", "projects/1/secrets/A", 2),
        ("secret.created", "projects/1/secrets/C", 1),
        *(("secret.revealed", f"projects/1/secrets/{key}", v) for key, v in REVEALED),
    ]


@pytest.mark.parametrize("in_json", [False, True])
async def test_a_preview_tells_the_same_without_effect(
    client: httpx.AsyncClient, application: FastAPI, in_json: bool
) -> None:
    before = stored(application)
    text = f"{FILE}broken\nD=\n"
    if in_json:
        answer = await client.post(f"{IMPORT}?dry_run=true", json={"dotenv": text})
    else:
        answer = await send(client, text, "?dry_run=true")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["created"], told["updated"], told["unchanged"]) == (["C"], ["A"], ["B"])
    assert [(one["line"], one["code"]) for one in told["rejected"]] == [
        (5, "no_value"),
        (6, "secret_size"),
    ]
    assert told["rejected"][0].keys() == {"line", "code", "message"}
    assert stored(application) == before


@pytest.mark.parametrize("in_json", [False, True])
async def test_a_wrong_line_has_no_effect_at_all(
    client: httpx.AsyncClient, application: FastAPI, in_json: bool
) -> None:
    before = stored(application)
    text = f"{FILE}broken\nD=\n"
    if in_json:
        answer = await client.post(IMPORT, json={"dotenv": text})
    else:
        answer = await send(client, text, "?dry_run=false")
    assert places(answer) == ["/dotenv" if in_json else ""] * 2
    found = answer.json()
    assert [one["line"] for one in found["rejected"]] == [5, 6]
    assert [one["message"] for one in found["errors"]] == [
        f"line {one['line']}: {one['message']}" for one in found["rejected"]
    ]
    # Otherwise it would tell whether a value is right, without a trace.
    assert not {"created", "updated", "unchanged"} & found.keys()
    assert stored(application) == before


async def test_a_preview_compares_values_only_for_who_may_reveal_them(
    client: httpx.AsyncClient,  # noqa: ARG001 - it makes the project
    as_token: AsToken,
) -> None:
    writer = await as_token("secrets:write")
    both = await as_token("secrets:write", "secrets:reveal")
    answers = [
        (await send(writer, text, "?dry_run=true")).json() for text in ("B=same\n", "B=guess\n")
    ]
    expected = {"created": [], "updated": ["B"], "unchanged": [], "rejected": []}
    assert answers == [expected, expected]
    assert (await send(both, "B=same\n", "?dry_run=true")).json()["unchanged"] == ["B"]
    # An import that happens tells it, as any other way to set a secret does, and is recorded.
    assert (await send(writer, "B=same\n")).json()["unchanged"] == ["B"]
    problem(await send(await as_token("secrets:reveal"), FILE), "forbidden")
    problem(await send(await as_token("secrets:reveal"), FILE, "?dry_run=true"), "forbidden")


async def test_what_was_revealed_as_dotenv_is_imported_as_it_was(client: httpx.AsyncClient) -> None:
    values, _ = carried(nasty_values(7, 550), RevealFormat.DOTENV)
    values = dict(list(values.items())[:400])
    one, other = [(await make_project(client))["id"] for _ in range(2)]
    secrets = [{"key": key, "value": value} for key, value in values.items()]
    await client.put(f"/api/projects/{one}/secrets", json={"secrets": secrets})
    file = await client.post(f"/api/projects/{one}/secrets/reveal?format=dotenv")
    answer = await client.post(
        f"/api/projects/{other}/secrets/import", content=file.content, headers=PLAIN
    )
    assert sorted(answer.json()["created"]) == sorted(values)
    assert await revealed(client, other) == await revealed(client, one) == values


async def test_a_forged_or_unreadable_secret_is_replaced(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    manager_of(application).execute_command(
        "UPDATE project_secrets SET version = 7 WHERE key_name = 'B'"
    )
    expected = {"created": ["C"], "updated": ["A", "B"], "unchanged": [], "rejected": []}
    assert (await send(client, FILE, "?dry_run=true")).json() == expected
    assert (await send(client, FILE)).json() == expected
    assert (await revealed(client))["B"] == "same"


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
async def test_a_key_repeats_the_answer(
    client: httpx.AsyncClient, application: FastAPI, query: str
) -> None:
    before = (await revealed(client)) | ({} if query else {"A": "changed", "C": "new"})
    key = {"Idempotency-Key": "k"}
    first = await send(client, FILE, query, **key)
    after = stored(application)
    second = await send(client, FILE, query, **key)
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json() == second.json()
    assert first.json()["created"] == ["C"]
    assert stored(application) == after
    assert await revealed(client) == before
    other = await send(client, FILE, "?dry_run=false" if query else "?dry_run=true", **key)
    problem(other, "idempotency_key_reused")


async def test_a_project_that_is_deleted_or_missing_takes_no_import(
    client: httpx.AsyncClient,
) -> None:
    await client.delete("/api/projects/1")
    for path in (IMPORT, IMPORT.replace("1", "987654")):
        for query in ("", "?dry_run=true"):
            problem(await send(client, FILE, query, path), "project_not_found")


async def test_files_that_are_no_text_or_too_large_are_refused(client: httpx.AsyncClient) -> None:
    async def sent(content: bytes, **headers: str) -> httpx.Response:
        return await client.post(IMPORT, content=content, headers=PLAIN | headers)

    problem(await sent(b""), "bad_request")
    wrong = await sent(b"A=1\nB=\xff\xfe\n")
    assert problem(wrong, "bad_request")["detail"].startswith("line 2 is not UTF-8")
    large = b"#" * (MAX_DOTENV_BYTES - 4)
    assert (await sent(large + b"\nX=1")).json()["created"] == ["X"]
    problem(await sent(large + b"\nX=12"), "body_too_large")
    problem(await sent(b"A=1", **{"Content-Encoding": "gzip"}), "unsupported_media_type")
    many = "".join(f"K{number}=1\n" for number in range(501))
    for query in ("", "?dry_run=true"):
        assert places(await send(client, many, query)) == [""]
        answer = await client.post(IMPORT + query, json={"dotenv": many})
        assert places(answer) == ["/dotenv"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = await sent(FILE.encode(), **form)
    assert "text/plain" in problem(refused, "unsupported_media_type")["detail"]
    assert "K1" not in await revealed(client)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "/dotenv"),
        ({"dotenv": None}, "/dotenv"),
        ({"dotenv": ["A=1"]}, "/dotenv"),
        ({"dotenv": "A=1", "dry_run": True}, "/dry_run"),
        ({"dotenv": "A=1\0"}, "/dotenv"),
    ],
)
async def test_wrong_json_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], place: str
) -> None:
    assert places(await client.post(IMPORT, json=body)) == [place]


async def test_a_wrong_query_is_refused(client: httpx.AsyncClient) -> None:
    for query, place in (
        ("?dry_run=1", "/query/dry_run"),
        ("?dry_run=true&dry_run=true", "/query/dry_run"),
        ("?format=dotenv", "/query/format"),
    ):
        assert places(await send(client, FILE, query)) == [place]
    assert (await revealed(client)).keys() == {"A", "B", "OTHER"}


async def test_no_answer_repeats_a_value(client: httpx.AsyncClient) -> None:
    sentinels = Sentinels()

    def new(place: str) -> str:
        return sentinels.new(place).replace("\n", "")

    lines = [
        f"A='{new('fine')}'",
        new("alone"),
        f"{new('as a key')}=x",
        f"B='{new('behind quotes')}' {new('behind')}",
        f"C={new('with a NUL')}\0",
        f"D='{new('open')}",
    ]
    for query in ("", "?dry_run=true"):
        for count in range(1, len(lines) + 1):
            for answer in (
                await send(client, "\n".join(lines[:count]), query),
                await client.post(IMPORT + query, json={"dotenv": "\n".join(lines[:count])}),
            ):
                assert answer.status_code in (200, 422)
                assert sentinels.found_in(answer.content) == []
