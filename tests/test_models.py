import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.schemas.base import RequestModel
from backend.schemas.fields import PositiveInt
from backend.schemas.projects import (
    ProjectCreate,
    ProjectDocument,
    ProjectSettingsCreate,
    ProjectSettingsUpdate,
    ProjectUpdate,
)
from backend.schemas.secrets import (
    SecretCreate,
    SecretMetadata,
    SecretReveal,
    SecretsUpsert,
    SecretValue,
)
from database.base import time_text
from database.errors import InvalidValue
from models import (
    AgentRun,
    LogLevel,
    Project,
    ProjectSecret,
    ProjectSettings,
    ProjectStatus,
    SecretStatus,
    utc_datetime,
)
from tests.support.model_errors import errors_of

DOCUMENTS = Path(__file__).parents[2] / "shared" / "data" / "projects.jsonl"
NOW = "2026-01-31T12:00:00.000000Z"
ROW = {
    "id": 7,
    "name": "Payments",
    "github_owner": "Acme",
    "github_repo": "payments",
    "owner_key": "acme",
    "status": "inactive",
    "webhook_url": None,
    "auto_merge_enabled": 1,
    "auto_confirm_plans": 0,
    "created_at": NOW,
    "updated_at": NOW,
    "version": 3,
}
MADE = {"name": "Payments", "github_owner": "acme", "github_repo": "payments"}
SECRET = {"key": "API_KEY", "value": "v"}
REQUESTS: list[type[RequestModel]] = [
    ProjectCreate,
    ProjectDocument,
    ProjectSettingsCreate,
    ProjectSettingsUpdate,
    ProjectUpdate,
    SecretCreate,
    SecretValue,
    SecretsUpsert,
]


# Times


def test_a_time_is_27_characters_of_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert time_text(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00.000000Z"
    assert (
        time_text(datetime(2026, 1, 31, 0, 0, 0, 7, tzinfo=east)) == "2026-01-30T18:30:00.000007Z"
    )
    with pytest.raises(InvalidValue, match="zone"):
        time_text(datetime(2026, 1, 31))  # noqa: DTZ001


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_and_sorts_as_text(moment: datetime) -> None:
    text = time_text(moment)
    assert len(text) == 27
    assert utc_datetime(text) == moment
    assert text <= time_text(datetime.max.replace(tzinfo=UTC))


# Entities


def test_a_row_becomes_an_entity_and_json() -> None:
    project = Project.model_validate(ROW)
    assert (project.status, project.auto_merge_enabled) == (ProjectStatus.INACTIVE, True)
    assert json.loads(project.model_dump_json()) == {
        name: value for name, value in ROW.items() if name != "owner_key"
    } | {"auto_merge_enabled": True, "auto_confirm_plans": False}


@pytest.mark.parametrize(
    "change", [{"status": "lost"}, {"created_at": "2026-01-31T12:00:00Z"}, {"name": None}]
)
def test_a_broken_row_is_refused(change: dict[str, Any]) -> None:
    assert [place for place, _ in errors_of(Project, ROW | change)] == list(change)


def test_settings_that_were_never_stored_have_the_defaults() -> None:
    project = Project.model_validate(ROW)
    assert ProjectSettings.defaults(project).model_dump() == {
        "id": 0,
        "project_id": 7,
        "planning_statement": None,
        "repository_rules": None,
        "setup_commands": None,
        "branch_name": "main",
        "created_at": NOW,
        "updated_at": NOW,
        "version": 0,
    }


def test_json_columns_are_read_and_lease_columns_not_shown() -> None:
    row = {
        "id": 1,
        "project_id": 7,
        "run_number": 1,
        "target_text": "Go",
        "planning_statement": None,
        "run_type": "plan",
        "status": "running",
        "result": None,
        "error_message": None,
        "pr_number": None,
        "pr_url": None,
        "web_url": None,
        "codegen_run_id": None,
        "validation_status": "pending",
        "auto_merge_enabled": 0,
        "merge_completed": 0,
        "metadata": '{"a": [1, 2.5, null, "é"], "n": 123456789012345678901234567890}',
        "settings_version": 2,
        "lease_token_hash": "hash-of-the-lease",
        "lease_worker": "w",
        "lease_expires_at": NOW,
        "lease_expiries": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "started_at": NOW,
        "completed_at": None,
        "version": 2,
    }
    run = AgentRun.model_validate(row)
    assert run.metadata == {
        "a": [1, 2.5, None, "é"],
        "n": 123456789012345678901234567890,
    }
    assert AgentRun.model_validate(row | {"metadata": run.metadata}) == run
    assert not [name for name in run.model_dump() if name.startswith("lease")]
    assert "hash-of-the-lease" not in repr(run)
    assert errors_of(AgentRun, row | {"metadata": "[1]"}) == [("metadata", "dict_type")]
    assert errors_of(AgentRun, row | {"metadata": "{broken"}) == [("metadata", "value_error")]


def test_levels_are_numbered_like_logging() -> None:
    assert [level.number for level in LogLevel] == [10, 20, 30, 40, 50]


def test_secrets_do_not_show_in_representations() -> None:
    sentinel = "sentinel-value"
    shown = [
        repr(SecretCreate.model_validate({"key": "K", "value": sentinel})),
        SecretCreate.model_validate({"key": "K", "value": sentinel}).model_dump_json(),
        repr(SecretReveal(key="K", value=sentinel, version=1)),
        repr(ProjectCreate.model_validate(MADE | {"secrets": [{"key": "K", "value": sentinel}]})),
        repr(ProjectDocument.model_validate(MADE | {"secrets": {"K": sentinel}})),
    ]
    secret = ProjectSecret(
        id=1,
        project_id=1,
        project_key_id=1,
        key_name="K",
        ciphertext=sentinel,
        redact=True,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )
    shown += [repr(secret), secret.model_dump_json()]
    assert not [text for text in shown if sentinel in text]


# Requests


def test_the_real_documents_are_valid_and_unchanged() -> None:
    if not DOCUMENTS.exists():
        pytest.skip(f"the project documents are not there: {DOCUMENTS.name}")
    lines = DOCUMENTS.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 150
    for line in lines:
        given_fields = json.loads(line)
        document = ProjectDocument.model_validate(given_fields)
        assert document.model_dump(exclude_unset=True) == given_fields
        own = {
            name: given_fields[name] for name in ProjectCreate.model_fields if name in given_fields
        }
        assert ProjectCreate.model_validate(own).model_dump(exclude_unset=True) == own


def test_a_project_needs_a_name_and_a_repository_and_has_defaults() -> None:
    assert errors_of(ProjectCreate, {}) == [
        ("name", "missing"),
        ("github_owner", "missing"),
        ("github_repo", "missing"),
    ]
    assert ProjectCreate.model_validate(MADE).model_dump() == MADE | {
        "status": "active",
        "webhook_url": None,
        "auto_merge_enabled": False,
        "auto_confirm_plans": False,
        "settings": None,
        "secrets": [],
    }


@pytest.mark.parametrize("model", [m for m in REQUESTS if m is not ProjectDocument])
def test_an_unknown_field_is_refused(model: type[RequestModel]) -> None:
    assert ("surprise", "extra_forbidden") in errors_of(model, {"surprise": "sentinel"})


def test_a_document_keeps_unknown_fields_apart() -> None:
    document = ProjectDocument.model_validate(MADE | {"sources": ["a"], "id": 3})
    assert document.model_extra == {"sources": ["a"]}


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
def test_a_request_is_an_object(data: Any) -> None:
    for model in REQUESTS:
        assert errors_of(model, data) == [("", "model_type")]


def test_what_was_read_can_be_sent_back() -> None:
    project = Project.model_validate(ROW)
    settings = ProjectSettings.defaults(project)
    secret = SecretMetadata(
        id=1,
        project_id=7,
        key="K",
        version=1,
        status=SecretStatus.OK,
        redact=True,
        created_at=NOW,
        updated_at=NOW,
    )
    sent = json.loads(project.model_dump_json())
    assert ProjectUpdate.model_validate(sent).given_fields() == {
        "name": "Payments",
        "github_owner": "Acme",
        "github_repo": "payments",
        "status": "inactive",
        "webhook_url": None,
        "auto_merge_enabled": True,
        "auto_confirm_plans": False,
    }
    assert (
        ProjectCreate.model_validate(sent).given_fields()
        == ProjectUpdate.model_validate(sent).given_fields()
    )
    assert ProjectSettingsUpdate.model_validate(settings.model_dump()).branch_name == "main"
    assert SecretCreate.model_validate(secret.model_dump() | {"value": "v"}).key == "K"
    assert sent["id"] == 7, "the caller's data is left as it was"


@pytest.mark.parametrize("value", [None, "x", -1, 2**70, {"a": 1}])
def test_fields_of_answers_are_ignored_whatever_they_hold(value: object) -> None:
    names = ("id", "project_id", "created_at", "updated_at", "version")
    assert ProjectUpdate.model_validate(dict.fromkeys(names, value)).given_fields() == {}


def test_a_shape_keeps_a_field_that_it_declares_itself() -> None:
    class WithProject(RequestModel):
        project_id: PositiveInt

    assert WithProject.model_validate({"project_id": 5, "id": 6}).project_id == 5
    for wrong in (0, -1, 2**63, 1.0, "1", True, None):
        assert [p for p, _ in errors_of(WithProject, {"project_id": wrong})] == ["project_id"]
    assert WithProject(project_id=2**63 - 1).project_id == 2**63 - 1


def test_changes_tell_null_from_left_out() -> None:
    assert ProjectUpdate.model_validate({}).given_fields() == {}
    assert ProjectUpdate.model_validate({"webhook_url": None}).given_fields() == {
        "webhook_url": None
    }
    assert ProjectSettingsUpdate.model_validate({"setup_commands": None}).given_fields() == {
        "setup_commands": None
    }


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (ProjectUpdate, "name"),
        (ProjectUpdate, "github_owner"),
        (ProjectUpdate, "github_repo"),
        (ProjectUpdate, "status"),
        (ProjectUpdate, "auto_merge_enabled"),
        (ProjectUpdate, "auto_confirm_plans"),
        (ProjectSettingsUpdate, "branch_name"),
    ],
)
def test_null_does_not_clear_what_must_have_a_value(model: type[RequestModel], field: str) -> None:
    assert [place for place, _ in errors_of(model, {field: None})] == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("name", ["x"]),
        ("auto_merge_enabled", "true"),
        ("auto_merge_enabled", 1),
        ("auto_merge_enabled", 1.0),
        ("status", True),
        ("status", "lost"),
        ("status", "ACTIVE"),
        ("webhook_url", 5),
    ],
)
def test_no_type_is_converted_and_no_enumeration_stretched(field: str, value: object) -> None:
    assert [place for place, _ in errors_of(ProjectUpdate, {field: value})] == [field]
