"""Test results and their history over many runs: what clients send and receive."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from backend.schemas.fields import MaybeLeaseToken
from backend.schemas.json_numbers import UNKEPT, UNKEPT_MESSAGE
from backend.schemas.json_object import JsonText
from models import LongText, TestResult, TestStatus, UtcTime, name_rules

MAX_RESULTS = 1000
MAX_ATTEMPT = 1_000_000


class Attempts(StrEnum):
    """Which attempts of tests a list has."""

    LAST = "last"
    ALL = "all"


def _kept(value: object) -> object:
    """The value. Raises `PydanticCustomError` for a number that no double is equal to."""
    if value is UNKEPT or (type(value) is int and not _is_double(value)):
        raise PydanticCustomError("number", UNKEPT_MESSAGE)
    return value


def _is_double(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


# Not strict, because JSON has the member's value as a string, which strict mode would refuse.
AnyTestStatus = Annotated[TestStatus, Field(strict=False)]
TestType = Annotated[str, StringConstraints(min_length=1, max_length=100), *name_rules("label")]
TestName = Annotated[str, StringConstraints(min_length=1, max_length=500), *name_rules("label")]
FilePath = Annotated[
    str,
    StringConstraints(max_length=4096),
    *name_rules("label", may_be_empty=True),
]
Attempt = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_ATTEMPT,
        description="Which attempt of the test this is; what is stored of it is replaced. Without "
        "it, a result completes an unfinished attempt, or begins the next one.",
    ),
]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_kept)]


class TestResultCreate(RequestModel):
    """The result of an attempt of a test. A field left out of a later upload of the same attempt
    becomes null."""

    __test__: ClassVar[bool] = False
    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {
        "agent_run_id",
        "flaky",
    }

    test_type: TestType
    test_name: TestName
    attempt: Attempt | None = None
    status: AnyTestStatus = TestStatus.PENDING
    duration_seconds: Duration | None = None
    result_data: JsonText | None = None
    error_message: LongText | None = None
    screenshot_path: FilePath | None = None
    log_path: FilePath | None = None


class TestResultUpload(TestResultCreate):
    """One result."""

    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "test_type": "unit",
                    "test_name": "tests/test_login.py::test_logs_in",
                    "status": "passed",
                    "duration_seconds": 0.21,
                }
            ]
        }
    )


class TestResultBatch(RequestModel):
    """Many results, stored as if they came one after another: all or none."""

    __test__: ClassVar[bool] = False
    answer_only: ClassVar[frozenset[str]] = frozenset({"summary", "next_cursor"})

    test_results: Annotated[list[TestResultCreate], Field(max_length=MAX_RESULTS)]
    lease_token: MaybeLeaseToken = None


def _one_or_many(body: Any) -> Any:
    """The body as the shape that its field names, so that errors concern only that shape. The bytes
    of a file stay as they are."""
    if isinstance(body, bytes):
        return body
    many = isinstance(body, dict) and "test_results" in body
    return (TestResultBatch if many else TestResultUpload).model_validate(body)


OneOrManyResults = Annotated[
    TestResultUpload | TestResultBatch | SkipJsonSchema[bytes], BeforeValidator(_one_or_many)
]
"""The bytes are those of a file; no JSON has bytes."""


class TestResultCounts(BaseModel):
    """What happened to the results of an upload."""

    __test__: ClassVar[bool] = False

    created: int = Field(description="Results that are new attempts.")
    updated: int = Field(description="Results that replaced what was stored of their attempt.")
    unchanged: int


class TestResultList(BaseModel):
    __test__: ClassVar[bool] = False

    test_results: list[TestResult]
    summary: dict[TestStatus | Literal["flaky"], int] = Field(
        description="How many tests the run has by the status of their last attempt, and how many "
        "are flaky, regardless of the filters."
    )
    next_cursor: str | None


class TestOutcome(BaseModel):
    """A test's result in one run: its last attempt."""

    __test__: ClassVar[bool] = False

    agent_run_id: int
    run_number: int
    status: TestStatus
    attempt: int
    flaky: bool = Field(description="Whether it passed, and an earlier attempt failed.")
    duration_seconds: float | None
    updated_at: UtcTime


class TestHistory(BaseModel):
    """A test in the latest runs of its project."""

    __test__: ClassVar[bool] = False

    test_type: str
    test_name: str
    passed: int
    failed: int = Field(
        description="Runs in which the test failed or broke off (`failed`, `error`)."
    )
    flaky: int = Field(
        description="Runs in which the test passed only after an attempt that failed; `passed` "
        "counts them too."
    )
    flips: int = Field(
        description="How often the result changed between passed and failed, counting only runs "
        "in which the test did either."
    )
    results: list[TestOutcome] | None = Field(
        description="Newest run first, without runs that lack the test. Null unless `test_name` "
        "was given."
    )


class TestHistoryList(BaseModel):
    __test__: ClassVar[bool] = False

    runs: int = Field(description="How many runs were examined.")
    tests: list[TestHistory] = Field(description="By type and name.")
    next_cursor: str | None
