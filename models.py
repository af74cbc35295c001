"""The entities of the database, and the types of fields in requests and answers.

Entities accept a row (a dict with the columns) and ignore unknown columns. Requests are strict:
no type is converted, no unknown field accepted. The text of a validation error never contains the
input; `ValidationError.errors()` does unless it is called with `include_input=False`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    computed_field,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, from_json

MAX_INT64 = 2**63 - 1
MAX_TEXT = 1_000_000
MAX_SECRET_BYTES = 65_536
MAX_BRANCH_BYTES = 244
MAX_SECRETS_PER_REQUEST = 500
UNVERSIONED = frozenset({"last_triggered_at", "last_used_at", "lease_expires_at"})
"""Members that change without a new version of what they belong to: they don't count as a change
for clients that ask whether something has changed."""

# Written out, because `\s` means different sets in Rust, Python and ECMAScript.
_BLANK = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Unicode's format characters (Cf), default-ignorable characters, and letters without a glyph.
_FORMAT = (
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufeff\ufff9-\ufffb"
)
_FILLERS = (
    r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
)
_INVISIBLE = _BLANK + _FORMAT + _FILLERS
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_PORT = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = rf"""[^{_BLANK}{_BIDI}/?#@:%\[\]\\"<>^`{{|}}.][^{_BLANK}{_BIDI}/?#@:%\[\]\\"<>^`{{|}}]*"""

# These are in the OpenAPI document, so they use only syntax that Python and ECMAScript share.
NO_NUL_PATTERN = r"^[^\x00]*$"
NAME_PATTERN = rf"^[^\x00{_BIDI}]*[^{_INVISIBLE}][^\x00{_BIDI}]*$"
KEY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
# "." and ".." are refused, because an HTTP client removes them from the path of a look-up.
GITHUB_NAME_PATTERN = rf"^(?:[^{_INVISIBLE}/]*[^{_INVISIBLE}/.][^{_INVISIBLE}/]*|\.{{3,}})$"
# No user or password before the host: this field is not encrypted, and may be logged.
URL_PATTERN = (
    r"^[hH][tT][tT][pP][sS]?://"
    rf"(?:\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]|{_HOST})"
    rf"(?::{_PORT}?)?(?:[/?#][^{_BLANK}{_BIDI}]*)?$"
)
# What `git check-ref-format --branch` accepts.
BRANCH_PATTERN = (
    r"^(?![-/.])(?!@$)(?!HEAD$)(?!.*(?:\.\.|//|/\.|@\{|\.lock/))(?!.*(?:/|\.|\.lock)$)"
    r"[^\x00-\x20\x7f~^:?*\[\\]+$"
)
_TIME_EXAMPLE = "2026-01-31T12:00:00.000000Z"


def utc_datetime(text: str) -> datetime | None:
    """The time, in UTC, that was stored as `text`; `None` for another text, which another
    program wrote."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def read_moment(value: object) -> datetime:
    """An RFC 3339 time as a `datetime` in UTC. Digits after the microsecond are dropped, and a leap
    second becomes the first moment of the next day.

    Raises `PydanticCustomError` (a `ValueError`) for anything else: other forms of ISO 8601, a time
    without a zone, a number, and a time before the year 1 or after 9999.
    """
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _NO_MOMENT
    day, clock, second, fraction, sign, hours, minutes = match.groups()
    leap = second == "60"
    try:
        local = datetime.fromisoformat(f"{day}T{clock}:{'59' if leap else second}").replace(
            microsecond=int((fraction or "")[:6].ljust(6, "0")), tzinfo=UTC
        )
        ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        moment = local + ahead if sign == "-" else local - ahead
        if leap:
            moment += timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise _NO_MOMENT from None
    # Leap seconds occur only at the end of a month in UTC.
    if leap and (moment.day, moment.hour, moment.minute) != (1, 0, 0):
        raise _NO_MOMENT
    return moment


_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_NO_MOMENT = PydanticCustomError(
    "moment",
    "must be an RFC 3339 time with a zone, such as 2026-12-31T12:00:00Z (write + as %2B in a "
    "query)",
)


def _matching(pattern: str, code: str, message: str) -> tuple[AfterValidator, FieldInfo]:
    """Require a string to match `pattern`, with a readable error, and document the pattern."""
    # "$" would allow a line feed at the end.
    compiled = re.compile(pattern.removesuffix("$") + r"\Z")

    def check(text: str) -> str:
        if not compiled.match(text):
            raise PydanticCustomError(code, message)
        return text

    schema: dict[str, JsonValue] = {"pattern": pattern}
    return AfterValidator(check), Field(json_schema_extra=schema)


_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp", "Mn", "Me"})
"""Categories of characters that are invisible, at least on their own. Unassigned characters are not
included, because they may be newer than Python's tables."""
_HIDDEN = re.compile(f"[{_INVISIBLE}\\ufdd0-\\ufdef\\U0001d159\\U000e0000-\\U000e0fff]")


def is_visible(character: str) -> bool:
    """Whether the character shows something by itself."""
    return (
        category(character) not in _HIDDEN_CATEGORIES
        and not _HIDDEN.match(character)
        # The last two code points of each plane are not characters.
        and ord(character) & 0xFFFE != 0xFFFE
    )


def name_rules(code: str, *, may_be_empty: bool = False) -> tuple[AfterValidator, FieldInfo]:
    """For a name that people read: it has a visible character and does not change the direction of
    text. The documented pattern covers only characters up to U+FFFF.
    """
    readable = re.compile(rf"[^\x00{_BIDI}]*")
    message = (
        "must contain a visible character, and neither NUL nor a character that sets the direction "
        "of text"
    )

    def check(text: str) -> str:
        # The full check takes five times as long, and few names need it.
        if text.isascii() and text.isprintable() and not text.isspace():
            is_name = may_be_empty or text != ""
        else:
            is_name = readable.fullmatch(text) is not None and any(map(is_visible, text))
        if not is_name:
            raise PydanticCustomError(code, message)
        return text

    pattern = rf"^(?:{NAME_PATTERN[1:-1]})?$" if may_be_empty else NAME_PATTERN
    schema: dict[str, JsonValue] = {"pattern": pattern}
    return AfterValidator(check), Field(json_schema_extra=schema)


_GITHUB_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})


def _check_github_name(name: str) -> str:
    """Checks what the pattern can't: characters above U+FFFF, and a name of combining marks
    only."""
    if name.isascii():
        return name
    shown = any(map(is_visible, name))
    if not shown or any(category(c) in _GITHUB_REFUSED or _HIDDEN.match(c) for c in name):
        raise _NO_GITHUB_NAME
    return name


_GITHUB_NAME_MESSAGE = "must not contain a slash or a blank, control or invisible character"
_NO_GITHUB_NAME = PydanticCustomError("github_name", _GITHUB_NAME_MESSAGE)


def _check_branch_bytes(name: str) -> str:
    if len(name.encode()) > MAX_BRANCH_BYTES:
        raise PydanticCustomError(
            "branch_name_too_long",
            "must have at most {max_bytes} bytes",
            {"max_bytes": MAX_BRANCH_BYTES},
        )
    return name


def _check_no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "must not contain a NUL character")
    return text


def _check_secret(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        # The exception holds the whole value, so it must not be chained.
        size = -1
    if size < 0:
        raise PydanticCustomError("secret_unicode", "must be valid Unicode")
    if not 1 <= size <= MAX_SECRET_BYTES:
        raise PydanticCustomError(
            "secret_size",
            "must have 1 to {max_bytes} bytes of UTF-8",
            {"max_bytes": MAX_SECRET_BYTES},
        )
    if "\0" in value:
        raise PydanticCustomError("secret_nul", "must not contain a NUL character")
    return secret


def _from_json(value: object) -> object:
    return from_json(value) if isinstance(value, str) else value


UtcTime = Annotated[
    str,
    StringConstraints(min_length=27, max_length=27),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": [_TIME_EXAMPLE]}),
]
"""A time as stored text: UTC, with six fractional digits. It stays text from the row to the answer.
With `datetime`, which also drops a zero fraction, reading and serialising a list of fifty projects
takes 1.7 times as long."""
Moment = Annotated[
    datetime,
    PlainValidator(read_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": [_TIME_EXAMPLE]}),
]
"""A time in a request. Every such field and parameter has this type."""
ProjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    *name_rules("project_name"),
]
GithubName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    *_matching(GITHUB_NAME_PATTERN, "github_name", _GITHUB_NAME_MESSAGE),
    AfterValidator(_check_github_name),
]
HttpUrl = Annotated[
    str,
    StringConstraints(max_length=2048),
    *_matching(
        URL_PATTERN,
        "http_url",
        "must be an http or https URL with a host, without user, password, white space or a "
        "character that sets the direction of text",
    ),
]
"""Stored exactly as given, not normalised."""
BranchName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_BRANCH_BYTES),
    *_matching(BRANCH_PATTERN, "branch_name", "must be a branch name that git accepts"),
    AfterValidator(_check_branch_bytes),
]
LongText = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT),
    AfterValidator(_check_no_nul),
    Field(json_schema_extra={"pattern": NO_NUL_PATTERN}),
]
SecretKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    *_matching(
        KEY_PATTERN,
        "secret_key",
        "must contain only letters, digits and underscores, and not begin with a digit",
    ),
]
SecretText = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    Field(
        description="1 byte to 64 KiB of UTF-8, without NUL characters.",
        json_schema_extra={
            "minLength": 1,
            "maxLength": MAX_SECRET_BYTES,
            "pattern": NO_NUL_PATTERN,
        },
    ),
]


def _is_redacted(value: object) -> object:
    # Stored only where a value is exempt, so that digests of rows from before still fit.
    return True if value is None else value


Redacted = Annotated[bool, BeforeValidator(_is_redacted)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_from_json)]
StringList = Annotated[list[str], BeforeValidator(_from_json)]


class ProjectStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    ARCHIVED = "archived"
    DELETED = "deleted"


class SecretStatus(StrEnum):
    OK = "ok"
    UNREADABLE = "unreadable"


class Scope(StrEnum):
    """What a token may do; `admin` allows everything."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    SECRETS_WRITE = "secrets:write"
    SECRETS_REVEAL = "secrets:reveal"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    LOGS_READ = "logs:read"
    LOGS_WRITE = "logs:write"
    AUDIT_READ = "audit:read"
    ADMIN = "admin"


class RunType(StrEnum):
    REGULAR = "regular"
    PLAN = "plan"
    PR = "pr"


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ValidationStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class PipelineStateName(StrEnum):
    CREATED = "created"
    WEBHOOK_SETUP = "webhook_setup"
    AGENT_RUNNING = "agent_running"
    PLAN_CONFIRMATION = "plan_confirmation"
    PR_CREATED = "pr_created"
    SNAPSHOT_CREATING = "snapshot_creating"
    DEPLOYMENT_RUNNING = "deployment_running"
    TESTING = "testing"
    VALIDATION_COMPLETE = "validation_complete"
    AUTO_MERGING = "auto_merging"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class MessageRole(StrEnum):
    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"


class WebhookType(StrEnum):
    GITHUB_PR = "github_pr"
    GITHUB_PUSH = "github_push"
    CLOUDFLARE = "cloudflare"
    CUSTOM = "custom"


class TestStatus(StrEnum):
    __test__ = False

    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ERROR = "error"


class SnapshotStatus(StrEnum):
    CREATING = "creating"
    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    DESTROYED = "destroyed"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"

    @property
    def number(self) -> int:
        """10, 20, … 50: a greater number is more severe, as in the standard library's `logging`."""
        return (list(LogLevel).index(self) + 1) * 10


LOG_LEVEL_NAMES: dict[str, LogLevel] = {
    **LogLevel.__members__,
    "WARN": LogLevel.WARNING,
    "FATAL": LogLevel.CRITICAL,
    "TRACE": LogLevel.DEBUG,
}
"""The levels by all names that requests may use for them, in upper case."""


def _read_log_level(value: object) -> object:
    # Letters outside of ASCII may become those of a name in upper case.
    is_name = isinstance(value, str) and value.isascii()
    return LOG_LEVEL_NAMES.get(str(value).upper(), value) if is_name else value


GivenLogLevel = Annotated[LogLevel, Field(strict=False), BeforeValidator(_read_log_level)]
"""A level in a request: any of `LOG_LEVEL_NAMES`, in any case."""


def _shown(field: FieldInfo, value: Any) -> Any:
    for kind in _types(field.annotation):
        if kind in (dict, list):
            return kind()
        if kind is bool:
            return bool(value)
        if issubclass(kind, str) and issubclass(kind, Enum) and isinstance(value, str):
            return _unknown_member(kind, value)
    return value


def _unknown_member(kind: type[Enum], name: str) -> Enum:
    # As the standard library makes members for combinations of flags.
    member = str.__new__(kind, name)  # type: ignore[type-var]
    member._name_ = member._value_ = name
    return member


def _types(annotation: Any) -> Iterator[type]:
    """The classes in the annotation, including those inside unions and `Annotated`, but not those
    of members."""
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type):
        yield origin
    if origin not in (dict, list):
        for part in get_args(annotation):
            yield from _types(part)


class BaseDBModel(BaseModel):
    """A row of any table."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: int
    created_at: UtcTime

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """The model of a row. A row that another program has damaged is shown as it is, but JSON
        that can't be read is an empty object or list, any number except 0 is true, and an unknown
        name is a member of its enumeration that only this model has."""
        try:
            return cls.model_validate(row)
        except ValidationError:
            fields = cls.model_fields.items()
            if any(field.is_required() and name not in row for name, field in fields):
                # The statement is wrong, not the row.
                raise
            return cls._of_damaged_row(row)

    @classmethod
    def _of_damaged_row(cls, row: Mapping[str, Any]) -> Self:
        construct: Callable[..., Any] = cls.model_construct
        made: Self = construct()
        for name, field in cls.model_fields.items():
            if name not in row:
                continue
            try:
                cls.__pydantic_validator__.validate_assignment(made, name, row[name])
            except ValidationError:
                made.__dict__[name] = _shown(field, row[name])
        return made


class ChangingDBModel(BaseDBModel):
    """A row that may change after it was made."""

    updated_at: UtcTime


class VersionedDBModel(ChangingDBModel):
    """A row that counts its changes: `version` is 1 when made, and one more after each."""

    version: int


class Project(VersionedDBModel):
    name: str
    github_owner: str
    github_repo: str
    status: ProjectStatus
    webhook_url: str | None
    auto_merge_enabled: bool
    auto_confirm_plans: bool


class ProjectSettings(VersionedDBModel):
    project_id: int
    planning_statement: str | None
    repository_rules: str | None
    setup_commands: str | None
    branch_name: str

    @classmethod
    def defaults(cls, project: Project) -> Self:
        """The settings of a project without a stored row: id and version 0, and its own times."""
        return cls(
            id=0,
            project_id=project.id,
            planning_statement=None,
            repository_rules=None,
            setup_commands=None,
            branch_name="main",
            created_at=project.created_at,
            updated_at=project.created_at,
            version=0,
        )


class ProjectSecret(VersionedDBModel):
    project_id: int
    project_key_id: int = Field(exclude=True)
    key_name: str
    ciphertext: str = Field(repr=False, exclude=True)
    redact: Redacted


class AgentRun(VersionedDBModel):
    project_id: int
    run_number: int
    target_text: str
    planning_statement: str | None
    run_type: RunType
    status: RunStatus
    result: str | None
    error_message: str | None
    pr_number: int | None
    pr_url: str | None
    web_url: str | None
    codegen_run_id: str | None
    validation_status: ValidationStatus
    auto_merge_enabled: bool
    merge_completed: bool
    metadata: JsonObject
    settings_version: int | None
    started_at: UtcTime | None
    completed_at: UtcTime | None
    lease_token_hash: str | None = Field(default=None, repr=False, exclude=True)
    lease_worker: str | None = Field(default=None, exclude=True)
    lease_seconds: int | None = Field(default=None, exclude=True)
    lease_expires_at: UtcTime | None = Field(default=None, exclude=True)
    lease_expiries: int = Field(default=0, exclude=True)


class PipelineState(BaseDBModel):
    agent_run_id: int
    state: PipelineStateName
    previous_state: PipelineStateName | None
    metadata: JsonObject


class Message(BaseDBModel):
    """What a person, the agent or a program around it says in a run."""

    agent_run_id: int
    role: MessageRole
    content: str


class Webhook(VersionedDBModel):
    project_id: int
    webhook_type: WebhookType
    webhook_url: str | None
    events: StringList
    is_active: bool
    last_triggered_at: UtcTime | None
    secret_ciphertext: str | None = Field(default=None, repr=False, exclude=True)
    project_key_id: int | None = Field(default=None, exclude=True)
    secret_version: int = Field(default=0, exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def has_secret_token(self) -> bool:
        """Whether a secret token is stored. The token itself is never shown."""
        return self.secret_ciphertext is not None


class WebhookDelivery(BaseDBModel):
    """A delivery to a webhook, without its payload."""

    webhook_id: int
    guid: str
    """The sender's own id of the delivery."""
    event: str
    action: str | None
    payload_bytes: int


class TestResult(ChangingDBModel):
    __test__: ClassVar[bool] = False

    agent_run_id: int
    test_type: str
    test_name: str
    attempt: int = Field(description="1 for the test's first attempt in the run.")
    flaky: bool = Field(
        description="Whether this last attempt passed, and an earlier one failed. False for "
        "attempts that others followed."
    )
    status: TestStatus
    duration_seconds: float | None
    result_data: JsonObject | None
    error_message: str | None
    screenshot_path: str | None
    log_path: str | None


class GrainchainSnapshot(VersionedDBModel):
    agent_run_id: int
    snapshot_id: str
    status: SnapshotStatus
    config: JsonObject
    validation_results: JsonObject | None
    error_message: str | None
    destroyed_at: UtcTime | None


class SystemLog(BaseDBModel):
    level: LogLevel
    message: str
    component: str | None
    context: JsonObject
    correlation_id: str | None
    project_id: int | None
    agent_run_id: int | None
    timestamp: UtcTime | None
    """When it happened, if its sender said so."""
