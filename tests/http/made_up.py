"""Schemathesis: the OpenAPI document, as it reads it, and a server for its requests."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from models import NO_NUL_PATTERN
from tests.runs.test_json_fields import shapes
from tests.support.clients import bearer, token_of_first_start
from tests.support.routes import document, make_something_of_everything
from tests.support.servers import RunningServer

if TYPE_CHECKING:
    import schemathesis

CONFIG: dict[str, Any] = {
    "generation": {
        "deterministic": True,
        "database": "none",
        # This replaces the pattern; see below.
        "allow-x00": False,
        # Other tests make every call without a token.
        "with-security-parameters": False,
    },
    "checks": {
        "ignored_auth": {"enabled": False},
        # A deleted project can be read, and the versions of a deleted secret.
        "use_after_free": {"enabled": False},
        # No schema can say which cursors exist, or that 1.0 is not accepted for 1.
        "positive_data_acceptance": {"enabled": False},
        # A text that is too long may make the whole body too large. A delivery without its
        # signature is unauthenticated, whatever else is wrong with it; the token is valid.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "404", "409", "413", "422"]
        },
    },
}
OFF = {"enabled": False}
IGNORED = {name for shape in shapes() for name in shape.answer_only}
"""Members that only answers have."""
REVOKES = "DELETE /api/tokens/{token_id}"
"""This call would revoke the token in use."""


def _without_nul_patterns(part: Any) -> Any:
    """The document without the pattern that forbids NUL. Combined with the maximum length of a long
    text, it makes an automaton of a million states."""
    if isinstance(part, dict):
        return {
            name: _without_nul_patterns(value)
            for name, value in part.items()
            if (name, value) != ("pattern", NO_NUL_PATTERN)
        }
    return [_without_nul_patterns(item) for item in part] if isinstance(part, list) else part


def schema(count: int = 4, **phases: Any) -> "schemathesis.BaseSchema":
    """The document, loaded by schemathesis for these phases, with at most `count` random requests
    of each kind for a call."""
    # Only the worker that needs it imports it: the import takes longer than all tests of many
    # modules.
    import schemathesis

    generation = {**CONFIG["generation"], "max-examples": count}
    config = schemathesis.Config.from_dict({**CONFIG, "generation": generation, "phases": phases})
    return schemathesis.openapi.from_dict(_without_nul_patterns(document()), config=config)


def validate(
    case: "schemathesis.Case[Any]", answer: Any, sent: dict[str, Any], **more: Any
) -> None:
    """Check an answer to a request that was sent with these arguments. Raises what schemathesis
    raises for an answer that is not as the document says."""
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import (
        allow_header_conformance,
        negative_data_rejection,
    )

    load_all_checks()
    # A stored answer is repeated without a look at the headers that demand a version, and members
    # that only answers have are ignored.
    is_replayed = "idempotency-replayed" in answer.headers
    has_ignored = isinstance(case.body, dict) and case.body.keys() & IGNORED
    excluded: list[Any] = [negative_data_rejection] if is_replayed or has_ignored else []
    if re.fullmatch(r"/api/projects/\{project_id\}/secrets/\w+", case.path):
        # A secret can have this path too, so `Allow` has its methods.
        excluded.append(allow_header_conformance)
    case.validate_response(
        answer,
        excluded_checks=excluded,
        headers=sent["headers"],
        transport_kwargs=sent,
        **more,
    )


@contextmanager
def served(folder: Path, master_keys: str) -> Iterator[dict[str, Any]]:
    """The URL of a server on this data directory, and the headers for it."""
    settings = Settings.model_construct(
        data_dir=folder, environment="development", master_keys=SecretStr(master_keys)
    )
    with RunningServer(create_app(settings)) as server:
        # Made-up requests would wait for changes that never come.
        state_of(server.app).waits.fit(0)
        yield {"base_url": server.url, "headers": bearer(token_of_first_start(settings))}


def fill(base_url: str, headers: dict[str, str]) -> None:
    """Make one of everything."""

    async def make() -> None:
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as client:
            await make_something_of_everything(client)

    asyncio.run(make())
