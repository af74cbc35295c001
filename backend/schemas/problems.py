"""Problem documents (RFC 9457)."""

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from backend.schemas.fields import unset


class ProblemFieldError(BaseModel):
    """One invalid place in a request; `pointer` is a JSON pointer into its body."""

    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457). Some codes carry further members, such as `existing_id`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/project_not_found"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["project_not_found"])
    request_id: str
    errors: list[ProblemFieldError] = Field(default_factory=unset)


class VersionMismatchProblem(Problem):
    """A precondition of the request does not hold, and nothing was done."""

    etag: str | None = Field(
        description="The present entity tag; null when the resource does not exist.",
        examples=['"v3"'],
    )
