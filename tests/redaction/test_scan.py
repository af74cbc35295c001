"""A scan tells where the present values of a project's secrets stand in texts that are stored."""

import base64
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI

from backend.repositories.stored_texts_repository import SOURCES, StoredTextsRepository
from backend.services.projects.secret_scan import ScanPace
from tests.support.api import Api, Json
from tests.support.clients import AsToken
from tests.support.clocks import SetClock
from tests.support.http import make_project, problem, service_of
from tests.support.logs import log, send
from tests.support.plans import Explaining, is_careless
from tests.support.webhooks import deliver, make_webhook

VALUE = "a made-up value/of+a secret"
OTHER = "another made-up value"
SCAN = "/api/projects/1/secrets/scan"
SCHEMA = (Path(__file__).parents[2] / "database/schema.sql").read_text(encoding="utf-8")
NOT_OF_A_PROJECT = {
    *("answer_keys", "api_tokens", "audit_anchor", "audit_entries", "guarded_targets"),
    *("installation", "key_rotations", "master_keys", "schema_migrations", "sessions"),
}
"""Their texts are not a project's: names of tokens, and what the service has written itself."""
WITHOUT_TEXTS = {
    *("project_keys", "project_secrets", "run_queues", "secret_versions", "stored_answers"),
    *("project_index_state", "run_index_state", "run_index_removals", "system_log_blocks"),
    *("system_log_moves", "system_log_removals", "test_result_files", "stored_answer_projects"),
}
"""What they have of a project is encrypted, a number, or follows from other texts."""
MADE_BY_THE_SERVICE = {
    *("created_at", "updated_at", "started_at", "completed_at", "lease_expires_at", "timestamp"),
    *("destroyed_at", "last_triggered_at", "name_key", "owner_key", "repo_key", "search_text"),
    *("target_key", "lease_token_hash", "secret_ciphertext", "mac", "actor"),
    # One of a few words, or names of fields.
    *("status", "run_type", "validation_status", "state", "previous_state", "level", "fields"),
    "webhook_type",
}


def tables() -> dict[str, set[str]]:
    """The texts of each table."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return {
            table: {
                name
                for _, name, declared, *_ in db.execute(f"PRAGMA table_info({table})")
                if declared == "TEXT"
            }
            for (table,) in db.execute("SELECT name FROM pragma_table_list WHERE strict").fetchall()
        }


def test_every_text_of_a_project_is_looked_through_or_has_a_reason() -> None:
    read = {source.table: set(source.texts) for source in SOURCES}
    found = {
        table: texts - MADE_BY_THE_SERVICE
        for table, texts in tables().items()
        if table not in NOT_OF_A_PROJECT | WITHOUT_TEXTS
    }
    assert read == found


async def set_secret(api: Api, key: str = "KEY", value: str = VALUE, project_id: int = 1) -> None:
    response = await api.client.put(
        f"/api/projects/{project_id}/secrets/{key}", json={"value": value}
    )
    assert response.is_success, response.text


async def scan(api: Api, path: str = SCAN) -> Json:
    """The answer to a scan that needs only one."""
    answer: Json = await api.post(path)
    assert answer["next_cursor"] is None
    return answer


def counts(found: list[Json]) -> Counter[tuple[str, str]]:
    """How often the value of each secret stands in each resource."""
    counted: Counter[tuple[str, str]] = Counter()
    for one in found:
        counted[one["key"], one["resource"]] += one["count"]
    return counted


async def fill(api: Api) -> None:
    """Store something in each table of the first project."""
    for rules in ("first", "second"):
        await api.patch("/api/projects/1/configuration", {"repository_rules": rules})
    webhook = await make_webhook(api.client, project_id=1, events=["push"])
    assert (await deliver(api.client, webhook["id"])).is_success
    await api.new_run()
    result = {"test_type": "unit", "test_name": "t", "status": "passed"}
    await api.post("/api/agent-runs/1/pipeline-states", {"state": "created"}, 201)
    await api.post("/api/agent-runs/1/test-results", result, 201)
    await api.post("/api/agent-runs/1/snapshots", {"snapshot_id": "s"}, 201)
    await send(api, log(project_id=1, agent_run_id=1))


GUARDED = {"project_settings", "configuration_versions"}
"""They are not shown after a change outside the service."""
JSON_FIELDS = {
    **dict.fromkeys(("metadata", "config", "context"), f'{{"a":"{VALUE}"}}'),
    **dict.fromkeys(("validation_results", "result_data"), f'{{"a":"{VALUE}"}}'),
    "events": f'["{VALUE}"]',
}
NOT_SHOWN = {("agent_runs", "lease_worker")}
"""No answer has it while the run is not leased."""


async def test_a_value_is_found_in_each_text_and_shown_where_the_scan_says(api: Api) -> None:
    await fill(api)
    await set_secret(api)
    db = api.service.db_manager.async_pool
    await db.execute("PRAGMA ignore_check_constraints = ON")
    for table, column in ((source.table, column) for source in SOURCES for column in source.texts):
        row = f"WHERE id = (SELECT min(id) FROM {table})"  # noqa: S608
        [(before,)] = await db.fetch_all(f"SELECT {column} FROM {table} {row}")  # noqa: S608
        change = f"UPDATE {table} SET {column} = ? {row}"  # noqa: S608
        await db.execute(change, (JSON_FIELDS.get(column, VALUE),))
        [found] = (await scan(api))["found"]
        shown = await api.client.get(f"/api/{found['resource']}")
        await db.execute(change, (before,))
        assert (found["key"], found["count"], found["fields"]) == ("KEY", 1, [column])
        if table in GUARDED:
            assert shown.status_code == 409
            shown = await api.client.get(f"/api/{found['resource']}")
            assert column in shown.json()
        else:
            assert (VALUE in shown.text) is ((table, column) not in NOT_SHOWN), found
        assert shown.status_code == 200, (found, shown.text)
    assert (await scan(api))["found"] == []


async def test_a_value_is_found_as_it_is_and_encoded(api: Api) -> None:
    await set_secret(api)
    octets = VALUE.encode()
    forms = [
        VALUE,
        quote(VALUE, safe=""),
        VALUE.replace("+", "%2B").replace(" ", "+"),
        *(base64.b64encode(b"-" * before + octets).decode() for before in range(3)),
        base64.urlsafe_b64encode(octets).decode(),
        VALUE.replace("/", r"\/"),
        "".join(f"\\u{ord(character):04x}" for character in VALUE),
    ]
    for number, form in enumerate(forms, 1):
        await api.new_run(target_text=f"before {form} after", metadata={"other": number})
        found = counts((await scan(api))["found"])
        assert found == {("KEY", f"agent-runs/{run}"): 1 for run in range(1, number + 1)}, form


async def test_the_places_of_a_resource_are_counted_together(api: Api, clock: SetClock) -> None:
    # One after the other: redaction takes out what is stored after the secret.
    await send(api, log(f"{VALUE} and {OTHER}", project_id=1, context={"a": [VALUE, {VALUE: 1}]}))
    first = clock.text()
    clock.advance(60)
    await send(api, log(VALUE, project_id=1))
    await send(api, log("nothing", project_id=1))
    last = clock.text()
    clock.advance(60)
    await set_secret(api)
    await set_secret(api, "OTHER", OTHER)
    logs = {"resource": "logs", "first_at": first}
    assert (await scan(api))["found"] == [
        {**logs, "key": "KEY", "count": 4, "fields": ["context", "message"], "last_at": last},
        {**logs, "key": "OTHER", "count": 1, "fields": ["message"], "last_at": first},
    ]


async def test_only_present_values_of_the_project_are_looked_for(api: Api) -> None:
    second = await api.new_project("second")
    await send(api, log(f"{VALUE} {OTHER}", project_id=1), log(f"{OTHER}", project_id=second))
    await send(api, log(f"{VALUE} of no project"))
    await set_secret(api)
    await set_secret(api, "KEY", OTHER)
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 1}
    await api.call("DELETE", "/api/projects/1/secrets/KEY", status=204)
    assert (await scan(api))["found"] == []
    await api.post("/api/projects/1/secrets/KEY/restore", status=200)
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 1}
    await api.call("DELETE", "/api/projects/1", status=204)
    assert (await api.post(SCAN, status=404))["code"] == "project_not_found"


async def test_secrets_that_can_not_be_looked_for_are_told(api: Api) -> None:
    await send(api, log(f"{VALUE}, eleven char", project_id=1))
    for key, value in (("SHORT", "eleven char"), ("DAMAGED", VALUE), ("FORGED", VALUE)):
        await set_secret(api, key, value)
    await set_secret(api)
    damage = "UPDATE project_secrets SET {} WHERE key_name = ?"
    db = api.service.db_manager.async_pool
    await db.execute(damage.format("ciphertext = 'x'"), ("DAMAGED",))
    await db.execute(damage.format("updated_at = created_at, actor = 'another'"), ("FORGED",))
    answer = await scan(api)
    assert counts(answer["found"]) == {("KEY", "logs"): 1}
    assert answer["skipped"] == [
        {"key": "FORGED", "reason": "unreadable"},
        {"key": "DAMAGED", "reason": "unreadable"},
        {"key": "SHORT", "reason": "too_short"},
    ]


async def test_a_project_without_secrets_has_nothing_to_look_for(api: Api) -> None:
    await send(api, log(VALUE, project_id=1))
    empty: Json = {"found": [], "skipped": [], "missing_scopes": [], "next_cursor": None}
    assert await api.post(SCAN) == empty
    await set_secret(api, "SHORT", "short")
    skipped = [{"key": "SHORT", "reason": "too_short"}]
    assert await api.post(SCAN) == {**empty, "skipped": skipped}


async def all_pages(api: Api) -> list[Json]:
    """All answers of a scan."""
    answers = [await api.post(SCAN)]
    while (cursor := answers[-1]["next_cursor"]) is not None:
        answers.append(await api.post(f"{SCAN}?cursor={cursor}"))
    return answers


async def test_pages_of_any_size_tell_the_same(api: Api) -> None:
    for number in range(4):
        run = await api.new_run(target_text=VALUE if number else "nothing")
        for states in range(number):
            body: Json = {"state": "created", "metadata": {"n": states, "v": VALUE}}
            await api.post(f"/api/agent-runs/{run['id']}/pipeline-states", body, 201)
        names = [f"{VALUE} {test}" for test in range(5 * (number % 2))]
        results = [
            {"test_type": "unit", "test_name": name, "status": status}
            for status in ("failed", "passed")
            for name in names
        ]
        for start in range(0, len(results), 5):
            some = {"test_results": results[start : start + 5]}
            await api.post(f"/api/agent-runs/{run['id']}/test-results", some, 201)
        await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(number)))
    await set_secret(api)
    whole = await scan(api)
    expected = counts(whole["found"])
    assert expected["KEY", "agent-runs/2/test-results"] == 10
    assert expected["KEY", "agent-runs/4/pipeline-states"] == 3
    assert expected["KEY", "logs"] == 6
    for rows, piece, found in ((1, 1, 500), (3, 2, 500), (500, 3, 500), (500, 500, 1), (7, 7, 3)):
        pace = ScanPace(piece_seconds=60, piece_rows=piece, seconds=600, rows=rows, found=found)
        api.service.secret_scan.pace = pace
        answers = await all_pages(api)
        assert len(answers) > (5 if rows < 500 or found < 500 else 0), pace
        assert all(len(answer["found"]) <= found for answer in answers)
        assert counts([one for answer in answers for one in answer["found"]]) == expected, pace


async def test_an_answer_ends_when_its_time_is_over(api: Api) -> None:
    await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(3)))
    await set_secret(api)
    # No time at all: each answer has what one read has found, which is at least one row.
    api.service.secret_scan.pace = ScanPace(piece_seconds=0)
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 3}
    api.service.secret_scan.pace = ScanPace(seconds=-1)
    answer = await api.post(SCAN)
    assert answer["found"] == []
    assert answer["next_cursor"] is not None


async def test_what_is_stored_meanwhile_does_not_prolong_a_scan(api: Api) -> None:
    await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(5)))
    await set_secret(api)
    api.service.secret_scan.pace = ScanPace(rows=2)
    answer = await api.post(SCAN)
    found = answer["found"]
    pages = 1
    while (cursor := answer["next_cursor"]) is not None:
        await send(api, *(log(f"{n}", project_id=1) for n in range(5)))
        answer = await api.post(f"{SCAN}?cursor={cursor}")
        found += answer["found"]
        pages += 1
        assert pages < 10
    assert counts(found) == {("KEY", "logs"): 5}


async def test_a_cursor_belongs_to_its_project_and_to_what_the_token_may_read(
    application: FastAPI, client: httpx.AsyncClient, as_token: AsToken
) -> None:
    first, second = [(await make_project(client, secrets=SECRETS))["id"] for _ in range(2)]
    path = f"/api/projects/{first}/secrets/scan"
    service_of(application).secret_scan.pace = ScanPace(rows=1)
    cursor = (await client.post(path)).json()["next_cursor"]
    assert (await client.post(path, params={"cursor": cursor})).status_code == 200
    other = f"/api/projects/{second}/secrets/scan"
    problem(await client.post(other, params={"cursor": cursor}), "bad_cursor")
    problem(await client.post(path, params={"cursor": f"{cursor}A"}), "bad_cursor")
    weak = await as_token("secrets:reveal", "logs:read")
    problem(await weak.post(path, params={"cursor": cursor}), "bad_cursor")


SECRETS = [{"key": "KEY", "value": VALUE}]


async def test_only_what_the_token_may_read_is_searched(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    project = await make_project(client, name=f"named {VALUE}")
    run = {"project_id": project["id"], "target_text": VALUE}
    assert (await client.post("/api/agent-runs", json=run)).status_code == 201
    logs = log(VALUE, project_id=project["id"])
    assert (await client.post("/api/logs", json=logs)).status_code == 201
    secrets = f"/api/projects/{project['id']}/secrets"
    assert (await client.put(secrets, json={"secrets": SECRETS})).status_code == 200
    places = {
        "projects:read": f"projects/{project['id']}",
        "runs:read": "agent-runs/1",
        "logs:read": "logs",
    }
    for scopes in ((), *((scope,) for scope in places), tuple(places)):
        token = await as_token("secrets:reveal", *scopes)
        answer = (await token.post(f"{secrets}/scan")).json()
        assert [one["resource"] for one in answer["found"]] == sorted(
            places[scope] for scope in scopes
        )
        assert answer["missing_scopes"] == sorted(places.keys() - set(scopes))
        assert answer["next_cursor"] is None
    refused = await as_token(*places, "secrets:write", "runs:write", "logs:write")
    assert problem(await refused.post(f"{secrets}/scan"), "forbidden")["scope"] == "secrets:reveal"


async def entries(client: httpx.AsyncClient, action: str) -> list[dict[str, Any]]:
    answer = await client.get("/api/audit", params={"action": action})
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def test_the_audit_tells_once_who_has_scanned(
    application: FastAPI, client: httpx.AsyncClient, as_token: AsToken
) -> None:
    project = await make_project(client, secrets=SECRETS)
    path = f"/api/projects/{project['id']}/secrets/scan"
    token = await as_token("secrets:reveal", "runs:read", project_ids=[project["id"]])
    for number in range(3):
        run = {"project_id": project["id"], "target_text": f"{number}"}
        assert (await client.post("/api/agent-runs", json=run)).status_code == 201
    service_of(application).secret_scan.pace = ScanPace(rows=1)
    answer = (await token.post(path)).json()
    assert answer["next_cursor"] is not None
    while answer["next_cursor"] is not None:
        answer = (await token.post(path, params={"cursor": answer["next_cursor"]})).json()
    [entry] = await entries(client, "secrets.scanned")
    assert (entry["actor"], entry["target"]) == ("t", f"projects/{project['id']}")
    assert entry["project_id"] == project["id"]
    # A refused one is no refused reveal of any key.
    weak = await as_token("projects:read")
    problem(await weak.post(path), "forbidden")
    assert await entries(client, "secret.reveal_refused") == []


async def test_a_key_repeats_the_answer(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=SECRETS)
    path = f"/api/projects/{project['id']}/secrets/scan"
    headers = {"Idempotency-Key": "once"}
    first = await client.post(path, headers=headers)
    assert first.status_code == 200
    assert (await client.patch(path.rpartition("/secrets")[0], json={"name": VALUE})).is_success
    again = await client.post(path, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert len(await entries(client, "secrets.scanned")) == 1


async def test_long_texts_are_looked_through_in_parts(api: Api) -> None:
    await api.new_run()
    await api.step(1, "running")
    await set_secret(api)
    size = 128 * 1024
    text = bytearray(b"x" * 900_000)
    wanted = 0
    for start in range(size - 3000, len(text) - 1000, size - 12 * len(VALUE)):
        for place in range(start, start + 6000, 97):
            text[place : place + len(VALUE)] = VALUE.encode()
            wanted += 1
    db = api.service.db_manager.async_pool
    await db.execute("UPDATE agent_runs SET result = ?", (text.decode()[: len(text)],))
    exact = text.decode().count(VALUE)
    assert exact > wanted // 2
    assert counts((await scan(api))["found"]) == {("KEY", "agent-runs/1"): exact}


async def test_no_read_of_a_scan_sorts_or_reads_other_rows(api: Api) -> None:
    await fill(api)
    explaining = Explaining(api.service.db_manager.async_pool)
    texts = StoredTextsRepository(api.service.db_manager).using(explaining)
    for source in SOURCES:
        last = tuple(9 for _ in source.order)
        for after in [None, last] if source.owners is None else [None, (9,), (9, *last)]:
            await texts.read(source, 1, after, lambda _: True)
            steps = explaining.steps()
            assert steps
            assert [step for step in steps if is_careless(step)] == [], (source.table, steps)
