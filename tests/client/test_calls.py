"""Calls to a real server, as programs make them."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

import strongroom
from strongroom import UNSET, AsyncClient
from tests.client.conftest import Connect, new_project
from tests.support.servers import RunningServer

VALUE = "a-made-up-value-out-of-sight"


async def test_a_first_session(python: AsyncClient) -> None:
    assert (await python.system.health()).status == "healthy"
    assert (await python.system.ready()).status == "ready"
    project = await python.projects.create(
        name="Bakery",
        github_owner="acme",
        github_repo="bakery",
        settings={"repository_rules": "Bake."},
        secrets={"API_KEY": VALUE},
        webhook_url="https://example.org/hook",
    )
    assert project.version == 1
    changed = await python.projects.update(
        project.id, name="Bakery 2", webhook_url=None, if_match=project.version
    )
    assert (changed.name, changed.webhook_url, changed.etag) == ("Bakery 2", None, '"v2"')
    assert await python.projects.get_by_repo("ACME", "bakery") == changed
    full = await python.projects.full(project.id)
    assert full.settings.repository_rules == "Bake."
    assert [secret.key for secret in full.secrets] == ["API_KEY"]
    await python.projects.delete(project.id)
    assert (await python.projects.get(project.id)).status == "deleted"
    assert (await python.projects.restore(project.id)).status == "active"
    await python.projects.delete(project.id, purge=True)
    with pytest.raises(strongroom.ProjectNotFound):
        await python.projects.get(project.id)


async def test_what_is_left_out_stays_and_none_clears(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    await python.configuration.update(project_id, planning_statement="p", setup_commands="s")
    after = await python.configuration.update(
        project_id, planning_statement=None, setup_commands=UNSET, repository_rules="r"
    )
    assert after.planning_statement is None
    assert (after.setup_commands, after.repository_rules) == ("s", "r")
    assert [one.version async for one in python.configuration.versions(project_id)] == [3, 2, 1]
    diff = await python.configuration.diff(project_id, from_=2, to=3)
    assert set(diff.fields) == {"planning_statement", "repository_rules"}
    assert (diff.from_, diff.to) == (2, 3)
    back = await python.configuration.rollback(project_id, version=2)
    assert back.planning_statement == "p"


async def test_secrets(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    await python.secrets.create(project_id, key="A", value=SecretStr(VALUE))
    await python.secrets.put(project_id, "B", value="second", redact=False)
    counts = await python.secrets.update(project_id, {"A": VALUE, "C": "third"})
    assert (counts.created, counts.updated, counts.unchanged) == (1, 0, 1)
    assert (await python.secrets.value(project_id, "A")).value == VALUE
    found = await python.secrets.reveal(project_id)
    assert found == {"A": VALUE, "B": "second", "C": "third"}
    assert found.versions == {"A": 1, "B": 1, "C": 1}
    assert await python.secrets.reveal(project_id, ["B"]) == {"B": "second"}
    assert "B=" in await python.secrets.reveal_text(project_id, ["B"], form="dotenv")
    preview = await python.secrets.import_dotenv(project_id, "D=4\n", dry_run=True)
    assert preview.created == ["D"]
    with pytest.raises(strongroom.VersionMismatch):
        await python.secrets.put(project_id, "B", value="third", if_none_match="*")
    with pytest.raises(strongroom.ValidationFailed) as wrong:
        await python.secrets.import_dotenv(project_id, "1=4\n")
    assert [line["line"] for line in wrong.value.rejected] == [1]


async def test_a_run_from_its_claim_to_its_end(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    only = [project_id]
    assert await python.agent_runs.claim(worker="w", project_ids=only) is None
    assert await python.agent_runs.claim_many(2, worker="w", project_ids=only) == []
    made = await python.agent_runs.create(
        project_id=project_id, target_text="Bake", metadata={"tries": 1}
    )
    run = await python.agent_runs.claim(worker="w", project_ids=only, wait=1)
    assert run is not None
    assert (run.id, run.status) == (made.id, "running")
    beat = await python.agent_runs.heartbeat(run.id, lease_token=run.lease_token)
    assert beat.lease_expires_at > datetime.now(UTC)
    await python.pipeline_states.create(run.id, state="created", lease_token=run.lease_token)
    page = await python.pipeline_states.list(run.id).page()
    assert page.answer.agent_run.id == run.id
    assert [one.state for one in page.items] == ["created"]
    listed = [one async for one in python.projects.list(include="runs") if one.id == project_id]
    assert listed[0].runs is not None
    assert listed[0].runs.active == 1
    await python.test_results.create(run.id, test_type="unit", test_name="a", status="passed")
    counts = await python.test_results.create_many(
        run.id, [{"test_type": "unit", "test_name": "b", "status": "failed"}]
    )
    assert counts.created == 1
    xml = '<testsuite name="s"><testcase classname="c" name="d" time="0.2"/></testsuite>'
    assert (await python.test_results.upload(run.id, xml)).created == 1
    results = await python.test_results.list(run.id).page()
    assert results.answer.summary["passed"] == 2
    await python.messages.create(run.id, role="agent", content="Done.")
    assert [one.content async for one in python.messages.list(run.id)] == ["Done."]
    done = await python.agent_runs.transition(
        run.id, to="completed", result="Bread", lease_token=run.lease_token
    )
    assert (done.status, done.result) == ("completed", "Bread")
    with pytest.raises(strongroom.InvalidTransition) as refused:
        await python.agent_runs.cancel(run.id)
    assert (refused.value.current, refused.value.allowed) == ("completed", [])


async def test_logs_and_times(python: AsyncClient) -> None:
    now, same = datetime.now(UTC), str(uuid.uuid4())
    await python.logs.create(level="INFO", message="one", timestamp=now, context={"a": [1, None]})
    accepted = await python.logs.create_many(
        {"level": "ERROR", "message": f"log {number}", "correlation_id": same}
        for number in range(3)
    )
    assert accepted.accepted == 3
    recent = python.logs.list(level="ERROR", correlation_id=same, since=now - timedelta(hours=1))
    found = [log async for log in recent]
    assert len(found) == 3
    assert [log async for log in python.logs.list(until=now - timedelta(hours=1))] == []
    with pytest.raises(ValueError, match="time zone"):
        await python.logs.list(since=datetime(2026, 1, 1)).page()  # noqa: DTZ001


async def test_webhooks_and_deliveries(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    hook = await python.webhooks.create(
        project_id, webhook_type="github_push", secret_token=VALUE, events=["push"]
    )
    first, second = [
        await python.webhooks.deliver_github(
            hook.id, b'{"a": 1}', event="push", guid="g-1", secret_token=VALUE
        )
        for _ in range(2)
    ]
    assert first.id == second.id
    whole = await python.webhooks.delivery(hook.id, first.id)
    assert whole.guid == "g-1"
    assert len([one async for one in python.webhooks.deliveries(hook.id)]) == 1
    await python.webhooks.delete(hook.id)
    with pytest.raises(strongroom.WebhookNotFound):
        await python.webhooks.get(hook.id)


async def test_the_installation(python: AsyncClient) -> None:
    assert "# HELP" in await python.system.metrics()
    assert (await python.system.retention()).would_remove.logs.rows == 0
    assert (await python.system.prune()).status
    assert (await python.keys.get()).keys
    assert (await python.keys.rotate()).status
    made = await python.backups.create()
    assert made.name in [one.name async for one in python.backups.list()]
    entries = [entry async for entry in python.audit.export()]
    assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
    page = await python.audit.list(action="backup.created").page()
    assert {entry.action for entry in page.items} == {"backup.created"}


async def test_tokens_and_sessions(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    made = await python.tokens.create(name="reader", scopes=["projects:read"], expires_in="1h")
    reader = connect(service.url, made.token)
    assert (await reader.tokens.me()).name == "reader"
    with pytest.raises(strongroom.Forbidden) as refused:
        await reader.logs.list().page()
    assert refused.value.scope == "logs:read"
    cookie = await python.tokens.create_session(made.token)
    assert (await python.tokens.get_session(cookie)).name == "reader"
    # The client itself has no session, and goes on with its token.
    assert (await python.tokens.me()).name == "admin"
    await python.tokens.end_session(cookie)
    with pytest.raises(strongroom.Unauthenticated):
        await python.tokens.get_session(cookie)
    await python.tokens.delete(made.id)
    with pytest.raises(strongroom.Unauthenticated):
        await reader.tokens.me()


async def test_reads_wait_for_something_else(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    with pytest.raises(strongroom.NotModified):
        await python.projects.get(project_id, if_none_match=1)
    page = await python.projects.list().page()
    with pytest.raises(strongroom.NotModified):
        await python.projects.list().page(if_none_match=page.etag)
    # Half a second counts as one.
    waiting = [
        asyncio.create_task(python.projects.get(project_id, if_none_match=1, wait=seconds))
        for seconds in (30, 0.5)
    ]
    with pytest.raises(strongroom.NotModified):
        await waiting[1]
    assert not waiting[0].done()
    await python.projects.update(project_id, name="other")
    assert (await waiting[0]).version == 2
    assert (await python.projects.list().page(if_none_match=page.etag)).items


async def test_a_list_of_1200_rows(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    keys = [f"KEY_{number:04}" for number in range(1200)]
    for start in range(0, 1200, 400):
        await python.secrets.update(project_id, dict.fromkeys(keys[start : start + 400], "v"))
    found = [one.key async for one in python.secrets.list(project_id, limit=500)]
    assert sorted(found) == keys
    assert found == [one.key async for one in python.secrets.list(project_id, limit=333)]
    first = await python.secrets.list(project_id, limit=500).page()
    assert [len(first.items), first.items[0].key] == [500, found[0]]
    rest = python.secrets.list(project_id, limit=500, cursor=first.next_cursor)
    assert [one.key async for one in rest] == found[500:]


async def test_a_key_of_the_caller_is_used(python: AsyncClient) -> None:
    project_id = (await new_project(python)).id
    first, second = [
        await python.agent_runs.create(
            project_id=project_id, target_text="Bake", idempotency_key=f"run-{project_id}"
        )
        for _ in range(2)
    ]
    assert first == second
    with pytest.raises(strongroom.IdempotencyKeyReused):
        await python.agent_runs.create(
            project_id=project_id, target_text="Cook", idempotency_key=f"run-{project_id}"
        )


@pytest.mark.parametrize("key", ["..", ".", "a/b", "%2e%2e", "ü", "a b", "?x=1", "#"])
async def test_a_key_never_names_another_resource(python: AsyncClient, key: str) -> None:
    project_id = (await new_project(python, secrets={"A": "v"})).id
    with pytest.raises(strongroom.StrongroomError):
        await python.secrets.delete(project_id, key, purge=True)
    assert (await python.projects.get(project_id)).status == "active"
    assert [one.key async for one in python.secrets.list(project_id)] == ["A"]
    with pytest.raises(ValueError, match="empty"):
        await python.secrets.delete(project_id, "")


async def test_a_closed_client_says_so(python: AsyncClient) -> None:
    await python.system.health()
    await python.aclose()
    with pytest.raises(strongroom.ClientClosed, match="make another"):
        await python.system.health()
