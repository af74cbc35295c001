"""An installation with one sealed value of each kind, and functions that read all of them."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backend.crypto.keyring import generate_master_key
from backend.runtime import Runtime
from backend.schemas.projects import ProjectCreate
from backend.schemas.webhooks import WebhookCreate
from backend.services.database_service import DatabaseService
from config.settings import Settings

OLD, NEW, NEXT = (generate_master_key(id) for id in ("old", "new", "next"))


def settings_of(directory: Path, *keys: str) -> Settings:
    """The configuration with these master keys, of which the first one is current."""
    return Settings(
        _env_file=None,
        environment="development",
        data_dir=directory,
        master_keys=SecretStr(",".join(keys)),
        db_readers=1,
    )


async def started(directory: Path, *keys: str) -> Runtime:
    """The installation, started with these master keys."""
    return await Runtime.start(settings_of(directory, *keys))


async def fill(service: DatabaseService, projects: int = 3, secrets: int = 4) -> None:
    """Add projects with secrets and webhooks, whose values tell where they belong."""
    begun = await service.repositories.projects.count()
    for number in range(begun + 1, begun + projects + 1):
        project = ProjectCreate.model_validate(
            {
                "name": f"project {number}",
                "github_owner": "acme",
                "github_repo": f"repository-{number}",
                "secrets": [
                    {"key": f"KEY_{index}", "value": value_of(number, index)}
                    for index in range(secrets)
                ],
            }
        )
        created = await service.projects.create(project)
        for index in range(2):
            token = f"token {index} of {number}"
            webhook = {"webhook_type": "custom", "secret_token": token}
            await service.webhooks.create(created.id, WebhookCreate.model_validate(webhook))


def value_of(project: int, index: int) -> str:
    """The value of a secret of the project with this number."""
    return f"value {index} of project {project} \N{KEY}" + "x" * (index * 500)


async def read_everything(service: DatabaseService) -> dict[str, str]:
    """Every secret and every webhook's token, by where it belongs. Raises `SecretUnreadable`."""
    found: dict[str, str] = {}
    pool, repositories = service.db_manager.async_pool, service.repositories
    rows = await pool.fetch_all("SELECT id FROM projects ORDER BY id")
    stored = [item for row in rows for item in await repositories.secrets.all_of(row["id"])]
    ids = await pool.fetch_all("SELECT id FROM webhooks ORDER BY id")
    webhooks = [await repositories.webhooks.get_stored(row["id"]) for row in ids]
    for item in stored:
        where = f"{item.secret.project_id}/{item.secret.key_name}"
        found[where] = (await service.sealing.open(repositories, item)).get_secret_value()
    for webhook in webhooks:
        assert webhook is not None
        token = service.webhooks.open_token(webhook)
        assert token is not None
        found[f"webhook {webhook.webhook.id}"] = token.get_secret_value()
    return found


def key_rows(runtime: Runtime) -> list[dict[str, Any]]:
    """The stored project keys."""
    return runtime.manager.execute_query("SELECT * FROM project_keys ORDER BY id")


def sealed_texts(runtime: Runtime) -> list[str]:
    """Every stored sealed text."""
    rows = runtime.manager.execute_query(
        "SELECT ciphertext AS text FROM project_secrets"
        " UNION ALL SELECT secret_ciphertext FROM webhooks"
        " UNION ALL SELECT wrapped FROM project_keys"
        " UNION ALL SELECT wrapped_key FROM installation"
    )
    return [row["text"] for row in rows]
