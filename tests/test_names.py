"""The names and parameters that other programs rely on."""

import importlib
import inspect
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from backend.repositories import Repositories, initialize_database
from backend.repositories.project_repository import ProjectRepository
from backend.repositories.project_secrets_repository import ProjectSecretsRepository
from backend.repositories.project_settings_repository import ProjectSettingsRepository
from backend.services.database_service import DatabaseService
from database.base import BaseRepository
from database.connection_manager import (
    AsyncConnectionPool,
    ConnectionConfig,
    ConnectionPool,
    DatabaseManager,
    get_database_manager,
)
from models import BaseDBModel, Project, ProjectSecret, ProjectSettings

ROOT = Path(__file__).parent.parent


def test_the_tree_is_as_given() -> None:
    for name in ("backend", "database", "config", "migrations", "tests"):
        assert (ROOT / name).is_dir()
    for name in (
        *("models.py", "pyproject.toml", "Makefile", "README.md", "ARCHITECTURE.md"),
        *("CHANGELOG.md", "LICENSE", "database/schema.sql", "backend/requirements.txt"),
    ):
        assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("config.settings", ["Settings"]),
        ("models", ["BaseDBModel", "Project", "ProjectSettings", "ProjectSecret"]),
        (
            "database.connection_manager",
            [
                "ConnectionConfig",
                "ConnectionPool",
                "AsyncConnectionPool",
                "DatabaseManager",
                "get_database_manager",
            ],
        ),
        ("database.base", ["BaseRepository"]),
        ("backend.repositories", ["Repositories", "initialize_database"]),
        ("backend.repositories.project_repository", ["ProjectRepository"]),
        ("backend.repositories.project_settings_repository", ["ProjectSettingsRepository"]),
        ("backend.repositories.project_secrets_repository", ["ProjectSecretsRepository"]),
        ("backend.services.database_service", ["DatabaseService"]),
        ("backend.dependencies", ["install_error_handlers"]),
        ("backend.main", ["create_app"]),
        ("backend.cli", ["main"]),
    ],
)
def test_every_given_name_can_be_imported(module: str, names: list[str]) -> None:
    imported = importlib.import_module(module)
    for name in names:
        assert getattr(imported, name)


ASYNC = True
PLAIN = False
SIGNATURES: list[tuple[Any, str, bool, str]] = [
    (BaseRepository, "create", ASYNC, "(self, data)"),
    (BaseRepository, "get_by_id", ASYNC, "(self, id)"),
    (BaseRepository, "update", ASYNC, "(self, id, data)"),
    (BaseRepository, "delete", ASYNC, "(self, id)"),
    (BaseRepository, "list", ASYNC, "(self, limit=50, *, before_id=None)"),
    (BaseRepository, "count", ASYNC, "(self)"),
    (BaseRepository, "exists", ASYNC, "(self, id)"),
    (ProjectRepository, "get_by_github_repo", ASYNC, "(self, owner, repo)"),
    (ProjectRepository, "list_active_projects", ASYNC, "(self)"),
    (ProjectRepository, "update_webhook_url", ASYNC, "(self, project_id, webhook_url)"),
    (
        DatabaseService,
        "create_project_with_settings",
        ASYNC,
        "(self, project_data, settings_data)",
    ),
    (DatabaseService, "get_project_full_config", ASYNC, "(self, project_id)"),
    (DatabaseService, "update_project_secrets", ASYNC, "(self, project_id, secrets)"),
    (DatabaseManager, "execute_query", PLAIN, "(self, query, params=())"),
    (DatabaseManager, "execute_command", PLAIN, "(self, command, params=())"),
    (DatabaseManager, "transaction", PLAIN, "(self)"),
    (DatabaseManager, "async_execute_query", ASYNC, "(self, query, params=())"),
    (DatabaseManager, "async_execute_command", ASYNC, "(self, command, params=())"),
    (DatabaseManager, "async_transaction", PLAIN, "(self)"),
    (DatabaseManager, "get_stats", PLAIN, "(self)"),
    (DatabaseManager, "health_check", ASYNC, "(self)"),
    (DatabaseManager, "close", ASYNC, "(self)"),
]


def called_with(function: Any) -> str:
    """The parameters of a function, without their types."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize(
    ("owner", "name", "is_async", "parameters"),
    SIGNATURES,
    ids=[f"{owner.__name__}.{name}" for owner, name, _, _ in SIGNATURES],
)
def test_a_given_method_is_called_as_given(
    owner: Any, name: str, is_async: bool, parameters: str
) -> None:
    method = getattr(owner, name)
    assert called_with(method) == parameters
    assert inspect.iscoroutinefunction(method) is is_async
    assert inspect.getdoc(method)


def test_given_methods_give_what_is_given() -> None:
    def result(method: Any) -> Any:
        return get_type_hints(method)["return"]

    assert result(ProjectRepository.get_by_github_repo) == Project | None
    assert result(ProjectRepository.list_active_projects) == list[Project]
    assert result(ProjectRepository.update_webhook_url) is bool
    assert result(DatabaseService.create_project_with_settings) is Project
    assert result(DatabaseService.get_project_full_config) == dict[str, Any]
    assert result(DatabaseService.update_project_secrets) is bool
    assert get_type_hints(DatabaseService.update_project_secrets)["secrets"] == list[dict[str, str]]
    assert result(DatabaseManager.execute_query) == list[dict[str, Any]]
    assert result(DatabaseManager.execute_command) is int
    assert result(DatabaseManager.async_execute_query) == list[dict[str, Any]]
    assert result(BaseRepository.delete) is bool
    assert result(BaseRepository.exists) is bool
    assert result(BaseRepository.count) is int


def test_repositories_are_of_their_models() -> None:
    assert called_with(BaseRepository.__init__).startswith(
        "(self, model_class, table_name, db_manager=None"
    )
    pairs: list[tuple[Any, type[BaseModel]]] = [
        (ProjectRepository, Project),
        (ProjectSettingsRepository, ProjectSettings),
        (ProjectSecretsRepository, ProjectSecret),
    ]
    for repository, model in pairs:
        (base,) = repository.__orig_bases__
        assert (get_origin(base), get_args(base)) == (BaseRepository, (model,))
        assert called_with(repository.__init__).startswith("(self, db_manager=None")
        assert issubclass(model, BaseDBModel)
    assert issubclass(BaseDBModel, BaseModel)


def test_a_manager_is_asked_for_by_its_configuration(tmp_path: Path) -> None:
    manager = get_database_manager(ConnectionConfig(tmp_path / "strongroom.db"))
    assert isinstance(manager, DatabaseManager)
    assert isinstance(manager.sync_pool, ConnectionPool)
    assert isinstance(manager.async_pool, AsyncConnectionPool)
    assert called_with(get_database_manager) == "(config=None)"


def test_initialising_makes_what_the_repositories_need(tmp_path: Path) -> None:
    manager = DatabaseManager(tmp_path / "strongroom.db")
    assert initialize_database(manager)
    assert initialize_database(manager) == []
    repositories = Repositories(manager)
    assert isinstance(repositories.projects, ProjectRepository)
    assert isinstance(repositories.settings, ProjectSettingsRepository)
    assert isinstance(repositories.secrets, ProjectSecretsRepository)
    manager.sync_pool.close()


@pytest.mark.usefixtures("no_settings")
def test_importing_the_application_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    main = importlib.import_module("backend.main")
    assert isinstance(main.app, FastAPI)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(AttributeError):
        assert main.nothing
