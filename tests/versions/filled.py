"""A project with earlier versions."""

from pydantic import SecretStr

from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate
from backend.services.database_service import DatabaseService
from tests.support.http import new_project


async def fill(service: DatabaseService) -> None:
    """A project with three versions of two secrets, one of them deleted, and of its settings."""
    body = new_project(secrets=[{"key": key, "value": f"1 of {key}"} for key in ("A", "B")])
    await service.projects.create(ProjectCreate.model_validate(body))
    for number in (2, 3):
        for key in ("A", "B"):
            await service.secrets.put(1, key, SecretStr(f"{number} of {key}"))
        update = ProjectSettingsUpdate(setup_commands=f"configuration {number}")
        await service.projects.update_settings(1, update)
    await service.secrets.delete(1, "B")


async def values(service: DatabaseService) -> list[str]:
    """The values of all versions of the secrets, as they should be in `ALL`."""
    found = [(await service.secret_history.reveal(1, "A", number)).value for number in (1, 2, 3)]
    await service.secret_history.restore(1, "B")
    found += [(await service.secret_history.reveal(1, "B", number)).value for number in (1, 2, 3)]
    await service.secrets.delete(1, "B")
    return found


ALL = [f"{number} of {key}" for key in ("A", "B") for number in (1, 2, 3)]
