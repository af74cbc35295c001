"""Short forms of requests, and the application over a given database and clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from backend.crypto.keyring import Keyring, MasterKey
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.vault import Vault
from backend.http.state import state_of
from backend.main import create_app
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from config.settings import Settings
from database.connection_manager import ConnectionConfig, DatabaseManager
from tests.support.clients import client_of
from tests.support.clocks import SetClock

Json = dict[str, Any]
KEYS = ServiceKeys(
    cursors=b"c" * 32,
    token_macs=b"t" * 32,
    session_macs=b"s" * 32,
    audit_chain=b"a" * 32,
    row_digests=b"d" * 32,
    idempotency=b"i" * 32,
)


@dataclass
class Api:
    """A client of the application, and the service behind it."""

    client: httpx.AsyncClient
    service: DatabaseService

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The answer's JSON, after a check of its status; `None` if it has no body."""
        request = {} if body is None else {"json": body}
        response = await self.client.request(method, path, **request)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.call("GET", path, status=status)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.call("POST", path, body, status)

    async def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return await self.call("PATCH", path, body, status)

    async def new_project(self, name: str, **fields: Any) -> int:
        """The id of a new project."""
        body = {"name": name, "github_owner": "acme", "github_repo": name, **fields}
        project = await self.post("/api/projects", body, 201)
        return int(project["id"])

    async def new_run(self, project_id: int = 1, **fields: Any) -> Json:
        """A new run, pending."""
        body = {"project_id": project_id, "target_text": "Do it", **fields}
        run: Json = await self.post("/api/agent-runs", body, 201)
        return run

    async def step(self, run_id: int, to: str, status: int = 200, **fields: Any) -> Json:
        """The answer to a transition."""
        path = f"/api/agent-runs/{run_id}/transitions"
        answer: Json = await self.post(path, {"to": to, **fields}, status)
        return answer

    async def claim(self, **fields: Any) -> Json:
        """A claimed run; one must be pending."""
        run: Json = await self.post("/api/agent-runs/claim", {"worker": "w", **fields})
        return run

    async def claim_nothing(self, **fields: Any) -> None:
        """Claim a run while none is pending."""
        assert await self.post("/api/agent-runs/claim", {"worker": "w", **fields}, 204) is None

    async def heartbeat(self, run_id: int, token: str, status: int = 200) -> Json:
        """The answer to a heartbeat."""
        path = f"/api/agent-runs/{run_id}/heartbeat"
        answer: Json = await self.post(path, {"lease_token": token}, status)
        return answer

    async def run(self, run_id: int) -> Json:
        """The current run."""
        run: Json = await self.get(f"/api/agent-runs/{run_id}")
        return run

    async def actions(self) -> list[tuple[str, str, str]]:
        """The actor, action and target of each audit entry, the oldest first."""
        rows = await self.service.db_manager.async_pool.fetch_all(
            "SELECT actor, action, target FROM audit_entries ORDER BY id"
        )
        return [(row["actor"], row["action"], row["target"]) for row in rows]


@cache
def _read_settings() -> Settings:
    return Settings(_env_file=None, auth="off")


@asynccontextmanager
async def open_api(path: Path, clock: SetClock) -> AsyncIterator[Api]:
    """The API over the database at `path`, without authentication; closed at the end of the
    block."""
    async with DatabaseManager(ConnectionConfig(path, readers=2)) as manager:
        vault = Vault(Keyring([MasterKey("k1", bytes(range(32)))]), "an-installation")
        service = DatabaseService(Kit(manager, vault, KEYS, clock=clock))
        await add_master_key(manager, vault)
        app = create_app(_read_settings().model_copy(update={"data_dir": path.parent}))
        state = state_of(app)
        state.service = service
        state.kept.start(service.kit.shown_versions)
        async with client_of(app, base_url="http://localhost", raising=True) as client:
            yield Api(client, service)


async def add_master_key(manager: DatabaseManager, vault: Vault) -> None:
    """Add a master key, as the first start does, so that projects can have keys."""
    await manager.async_pool.execute(
        "INSERT INTO master_keys (key_id, canary, created_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        ("k1", vault.canary("k1"), "2026-01-01T00:00:00.000000Z"),
    )


def codes(problem: Json) -> list[tuple[str, str]]:
    """The pointer and code of each error in an invalid request."""
    assert problem["code"] == "validation_failed"
    return [(error["pointer"], error["code"]) for error in problem["errors"]]
