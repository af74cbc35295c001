"""A scan tells where the present values of a project's secrets stand in texts that are stored."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from backend.repositories.stored_texts_repository import SOURCES, StoredTextsRepository
from tests.redaction.scanning import OTHER, SCAN, VALUE, counts, scan, set_secret
from tests.support.api import Api, Json
from tests.support.clocks import SetClock
from tests.support.logs import log, send
from tests.support.plans import Explaining, is_careless
from tests.support.webhooks import deliver, make_webhook

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
    *("webhook_type", "role"),
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


async def fill(api: Api) -> None:
    """Store something in each table of the first project."""
    for rules in ("first", "second"):
        await api.patch("/api/projects/1/configuration", {"repository_rules": rules})
    webhook = await make_webhook(api.client, project_id=1, events=["push"])
    assert (await deliver(api.client, webhook["id"])).is_success
    await api.new_run()
    result = {"test_type": "unit", "test_name": "t", "status": "passed"}
    await api.post("/api/agent-runs/1/pipeline-states", {"state": "created"}, 201)
    await api.post("/api/agent-runs/1/messages", {"role": "user", "content": "m"}, 201)
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
RUN_LOGS = "agent-runs/1/logs"
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
        path = {RUN_LOGS: "logs?agent_run_id=1"}.get(found["resource"], found["resource"])
        shown = await api.client.get(f"/api/{path}")
        await db.execute(change, (before,))
        assert (found["key"], found["count"], found["fields"]) == ("KEY", 1, [column])
        if table in GUARDED:
            assert shown.status_code == 409
            shown = await api.client.get(f"/api/{path}")
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
    await api.new_run()
    await send(api, log(VALUE, project_id=1), log(VALUE, project_id=1, agent_run_id=1))
    await send(api, log("nothing", project_id=1))
    last = clock.text()
    clock.advance(60)
    await set_secret(api)
    await set_secret(api, "OTHER", OTHER)
    logs = {"resource": "logs", "first_at": first}
    of_run = {"resource": RUN_LOGS, "first_at": last, "last_at": last}
    assert (await scan(api))["found"] == [
        {**of_run, "key": "KEY", "count": 1, "fields": ["message"]},
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


async def test_a_value_that_is_exempt_from_redaction_is_looked_for(api: Api) -> None:
    body = {"key": "KEY", "value": VALUE, "redact": False}
    await api.post("/api/projects/1/secrets", body, 201)
    await set_secret(api, "OTHER", OTHER)
    await send(api, log(f"{VALUE} {OTHER}", project_id=1))
    # The other one was taken out when the log was stored.
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 1}


async def test_a_value_in_json_in_json_is_found(api: Api) -> None:
    value = 'a "made-up" value\nof two lines'
    inner = json.dumps({"token": value})
    await send(api, log("sent", project_id=1, context={"body": json.dumps({"inner": inner})}))
    await set_secret(api, "KEY", value)
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 1}


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
