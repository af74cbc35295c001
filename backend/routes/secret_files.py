"""Many secrets at once over HTTP: revealed as JSON or as a file, and imported from a file."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request, Response

from backend.dependencies import Flag, GuardedRouter, ProjectId, Service, json_response, problems
from backend.http.other_bodies import content_of
from backend.http.route_policy import writes
from backend.http.secret_files import DOTENV, IN_JSON, DotenvFile, file_in_json, file_refused
from backend.schemas.environment_files import RevealFormat
from backend.schemas.secrets import (
    DotenvFileOrJson,
    SecretImport,
    SecretsReveal,
    SecretsToReveal,
)
from models import Scope

_SECRETS = "/api/projects/{project_id}/secrets"

router = GuardedRouter(
    tag="secrets",
    policies={
        # Each request is recorded and reveals what is there now, so no answer is repeated.
        ("POST", f"{_SECRETS}/reveal"): writes(Scope.SECRETS_REVEAL, idempotent=None),
        ("POST", f"{_SECRETS}/import"): writes(Scope.SECRETS_WRITE, other_body=DOTENV),
    },
)

_FILE = {
    "schema": {
        "type": "string",
        "description": "A dotenv file in UTF-8 of at most 1 MiB.",
        "examples": ["API_KEY='a made-up value'\n"],
    }
}


@router.post(
    f"{_SECRETS}/reveal",
    response_model=SecretsReveal,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "The values and versions by key, or the file.",
            "headers": {"Cache-Control": {"required": True, "schema": {"const": "no-store"}}},
        },
        **problems(
            "project_not_found", "secret_not_found", "secret_unreadable", "database_full", body=True
        ),
    },
)
async def reveal_secrets(
    project_id: ProjectId,
    service: Service,
    wanted: SecretsToReveal | None = None,
    form: Annotated[
        RevealFormat,
        Query(
            alias="format",
            description="`dotenv` for a file that python-dotenv and `sh` read back to the same "
            "bytes, `docker` for one for `docker run --env-file`.",
        ),
    ] = RevealFormat.JSON,
) -> Response:
    """The values of all secrets, or of those with these keys, at one moment. Each is recorded as
    revealed. Caches must not store them."""
    keys = wanted.keys if wanted is not None else None
    if form is RevealFormat.JSON:
        revealed = await service.secret_files.reveal(project_id, keys)
        answer = json_response(revealed.model_dump_json())
    else:
        text = await service.secret_files.reveal_file(project_id, keys, form)
        answer = Response(text, media_type="text/plain; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post(
    f"{_SECRETS}/import",
    responses=problems("project_not_found", "secret_unreadable", body=True),
    openapi_extra={"requestBody": {"content": dict.fromkeys(DOTENV.media_types, _FILE)}},
)
async def import_secrets(
    project_id: ProjectId,
    upload: DotenvFileOrJson,
    request: Request,
    service: Service,
    dry_run: Annotated[
        Flag,
        Query(description="Only tell what the import would do, and which lines are wrong."),
    ] = False,
) -> SecretImport:
    """Set the secrets of a dotenv file in one transaction, and leave the others. If any line is
    wrong, nothing is stored, and the error's `rejected` names the lines. A preview is without
    effect; it compares values only for a token that may reveal them, and for others counts every
    present secret as updated."""
    place: Sequence[str] = ()
    if isinstance(upload, bytes):
        file: DotenvFile = content_of(request)
    else:
        file, place = file_in_json(upload), IN_JSON
    if dry_run:
        keys = await service.secret_files.preview(project_id, file.values)
    else:
        if file.rejected:
            raise file_refused(file, place)
        keys = await service.secret_files.store(project_id, file.values)
    return SecretImport(
        created=keys.created,
        updated=keys.updated,
        unchanged=keys.unchanged,
        rejected=file.rejected,
    )
