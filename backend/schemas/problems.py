"""Problem documents (RFC 9457): the members that all have, and those of some error codes."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.dotenv_reading import RejectedLine
from backend.schemas.fields import unset


class ProblemFieldError(BaseModel):
    """One invalid place in a request; `pointer` is a JSON pointer into its body."""

    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457). The shapes below have the further members of some codes."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/project_not_found"])
    title: str
    status: int
    detail: str = Field(description="What to do, for people to read.")
    code: str = Field(examples=["project_not_found"])
    request_id: str = Field(description="The same as in `X-Request-ID`.")


class MalformedJsonProblem(Problem):
    """The body is not valid JSON, or has JSON that programs read differently."""

    errors: list[ProblemFieldError] = Field(
        default_factory=unset, description="The place, if the body could be read up to it."
    )


class ForbiddenProblem(Problem):
    """The token may not do this, or the request came from a page or for a host that is refused."""

    scope: str = Field(
        default_factory=unset,
        description="The scope that the token lacks; absent if another scope would not help.",
    )


class PlacedProblem(Problem):
    """Something does not exist."""

    errors: list[ProblemFieldError] = Field(
        default_factory=unset,
        description="The places in the request's body that name it; absent if its path does.",
    )


class SecretNotFoundProblem(PlacedProblem):
    """The secret does not exist."""

    key: str = Field(
        default_factory=unset, description="Its key, if the request asked for several secrets."
    )


class SecretUnreadableProblem(Problem):
    """The secret's value can't be decrypted."""

    key: str = Field(
        default_factory=unset, description="Its key, if the request asked for several secrets."
    )


class ExistingProblem(Problem):
    """There is one already."""

    existing_id: int | None = Field(
        description="The id of the one that exists; null if it was removed meanwhile."
    )


class InvalidTransitionProblem(Problem):
    """The status of a run or a snapshot does not allow the requested change."""

    current: str = Field(description="The present status.")
    allowed: list[str] = Field(description="The statuses to which it can go from there.")


class VersionMismatchProblem(Problem):
    """A precondition of the request does not hold, and nothing was done."""

    etag: str | None = Field(
        description="The present entity tag; null when the resource does not exist.",
        examples=['"v3"'],
    )


class ValidationFailedProblem(Problem):
    """The request breaks rules, and nothing was done."""

    errors: list[ProblemFieldError] = Field(description="The first 100 invalid places.")
    rejected: list[RejectedLine] = Field(
        default_factory=unset, description="Only for an import: the lines that are wrong."
    )
    key: str = Field(
        default_factory=unset,
        description="Only for a file of secrets: the key of the value that the format can't have.",
    )


PROBLEMS: Final[dict[str, type[Problem]]] = {
    "malformed_json": MalformedJsonProblem,
    "forbidden": ForbiddenProblem,
    "project_not_found": PlacedProblem,
    "agent_run_not_found": PlacedProblem,
    "secret_not_found": SecretNotFoundProblem,
    "secret_unreadable": SecretUnreadableProblem,
    "project_exists": ExistingProblem,
    "snapshot_exists": ExistingProblem,
    "invalid_transition": InvalidTransitionProblem,
    "version_mismatch": VersionMismatchProblem,
    "validation_failed": ValidationFailedProblem,
}
"""The shapes of the errors with members of their own, by code; all others are a `Problem`."""
