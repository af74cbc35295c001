"""All settings.

Every setting is a `STRONGROOM_` variable in the environment. Arguments of the constructor (a
command's flags) take precedence over the environment.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config import values

PREFIX = "STRONGROOM_"


class SettingsError(Exception):
    """The configuration is wrong. The message is one line that names variables but no values."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be, for the message about a wrong one. Part of a field's annotation."""

    must: str


Days = Annotated[
    int, Field(ge=0, le=36_500), Rule("must be a number of days up to 36500; 0 for no limit")
]
Count = Annotated[
    int, Field(ge=0, le=10**12), Rule("must be a number up to 1000000000000; 0 for no limit")
]


class Settings(BaseSettings):
    """The configuration of one process. It is immutable, and its `repr` shows no secret.

    The constructor raises pydantic's `ValidationError` (without the values); `load_settings` makes
    one line of it.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    environment: Annotated[
        Literal["development", "testing", "production"],
        BeforeValidator(values.lower),
        Rule("must be development, testing or production"),
    ] = "development"
    """`production` refuses a missing master key and disabled authentication."""

    data_dir: Annotated[
        Path, BeforeValidator(values.path), Rule("must be the path of a directory")
    ] = Path("data")
    """The directory of `strongroom.db` and its other files; created if it is missing."""

    host: Annotated[
        str,
        BeforeValidator(values.clean),
        AfterValidator(values.host),
        Rule("must be a host name or address"),
    ] = "127.0.0.1"
    """The address to listen on."""

    port: Annotated[int, Field(ge=0, le=65535), Rule("must be an integer between 0 and 65535")] = (
        8000
    )
    """The port to listen on; 0 takes a free port."""

    master_keys: Annotated[
        SecretStr | None, Rule("must be id:base64key, or several separated by commas")
    ] = None
    """Master keys as text, `id:base64key[,id:base64key…]`. The first encrypts, and all decrypt."""

    master_keys_file: Annotated[
        Path | None, BeforeValidator(values.path), Rule("must be the path of a file")
    ] = None
    """A file with the master keys as text, readable only by its owner."""

    master_keys_command: Annotated[
        str | None, Field(repr=False), Rule("must be a command and its arguments")
    ] = None
    """A command that prints the master keys as text; it is started without a shell."""

    auth: Annotated[
        Literal["token", "off"], BeforeValidator(values.lower), Rule("must be token or off")
    ] = "token"
    """`off` requires no token; permitted only outside production and on a loopback host."""

    cors_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(values.split),
        AfterValidator(values.origins),
        Rule(
            "must be origins such as https://app.example.com, as browsers send them (without a "
            "wildcard or a path, names in ASCII), separated by commas"
        ),
    ] = ()
    """Origins whose pages may call the service; `*` means all, and only outside production."""

    trusted_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(values.split),
        AfterValidator(values.host_patterns),
        Rule(
            "must be host names such as strongroom.example.com or *.example.com, separated by "
            "commas"
        ),
    ] = ()
    """Hosts that are permitted in the `Host` header; empty permits any."""

    public_url: Annotated[
        str | None,
        BeforeValidator(values.clean),
        AfterValidator(values.public_url),
        Rule("must be an http or https URL without a path, such as https://strongroom.example.com"),
    ] = None
    """The URL under which browsers reach the service, which is its own origin."""

    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        BeforeValidator(values.split),
        AfterValidator(values.networks),
        Rule("must be addresses or networks such as 10.0.0.7 or 10.0.0.0/8, separated by commas"),
    ] = ()
    """Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted."""

    docs: Annotated[
        Literal["on", "off"], BeforeValidator(values.lower), Rule("must be on or off")
    ] = "on"
    """`off` removes `/docs` and `/openapi.json`."""

    max_connections: Annotated[
        int, Field(ge=1, le=1_000_000), Rule("must be an integer between 1 and 1000000")
    ] = 4096
    """The number of open connections; one more is answered 503 and closed."""

    max_streams: Annotated[
        int, Field(ge=0, le=1_000_000), Rule("must be an integer between 0 and 1000000")
    ] = 2000
    """The number of open streams, at most three quarters of the connections; one more is answered
    503."""

    max_concurrent_requests: Annotated[
        int, Field(ge=1, le=100_000), Rule("must be an integer between 1 and 100000")
    ] = 32
    """How many reading requests, and as many writing ones, run at once; twice as many for a token
    without others. Other requests wait, and tokens take turns."""

    max_body_bytes: Annotated[
        int, Field(ge=1, le=2**30), Rule("must be an integer between 1 and 1073741824")
    ] = 1024 * 1024
    """The largest request body; a larger one is answered 413."""

    token_rate_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000), Rule("must be an integer between 0 and 1000000")
    ] = 0
    """Requests that each token may send in a minute, in a burst or evenly; 0 for no limit. One
    more is answered 429."""

    failed_attempts_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000), Rule("must be an integer between 0 and 1000000")
    ] = 600
    """Requests without a valid token that each address may send in a minute; 0 for no limit. One
    more is answered 429 instead of 401. Requests with valid tokens are never counted."""

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(values.upper),
        Rule("must be DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ] = "INFO"
    """The least severe level that is logged."""

    log_format: Annotated[
        Literal["console", "json"] | None,
        BeforeValidator(values.lower),
        Rule("must be console or json"),
    ] = None
    """The format of log lines; None means `console` on a terminal and `json` elsewhere."""

    db_readers: Annotated[int, Field(ge=1, le=64), Rule("must be an integer between 1 and 64")] = 4
    """The number of database connections for reading. A slow query occupies one of them."""

    db_queue_limit: Annotated[
        int, Field(ge=1, le=1_000_000), Rule("must be an integer between 1 and 1000000")
    ] = 10_000
    """How many units of work may wait for the database; one more is answered 503 at once."""

    db_queue_timeout_seconds: Annotated[
        float,
        Field(gt=0, le=300, allow_inf_nan=False),
        Rule("must be a number of seconds above 0 and up to 300"),
    ] = 5.0
    """How long a unit of work may wait. After that it is answered 503 and has no effect."""

    checkpoints: Annotated[
        Literal["own", "litestream"],
        BeforeValidator(values.lower),
        Rule("must be own or litestream"),
    ] = "own"
    """Which process copies the write-ahead log into the database file. `litestream` leaves this to
    a Litestream process that replicates the database."""

    keep_logs_days: Days = 30
    """How many days logs are kept; 0 for no limit, here and below."""

    keep_logs: Count = 5_000_000
    """How many of the newest logs are kept, without the service's own."""

    keep_own_logs: Count = 100_000
    """How many of the newest warnings and errors of the service itself are kept."""

    keep_runs_days: Days = 0
    """How many days runs are kept after they have ended."""

    keep_runs: Count = 0
    """How many of the newest runs of each project are kept; unfinished runs are always kept."""

    keep_deliveries_days: Days = 30
    """How many days deliveries to webhooks are kept."""

    keep_deliveries: Count = 0
    """How many of the newest deliveries are kept."""

    keep_configuration_versions: Count = 100
    """How many of the newest versions of each configuration are kept, with the present one; those
    that runs refer to always stay."""

    keep_secret_versions: Count = 10
    """How many of the newest versions of each secret are kept, with the present one."""

    keep_audit_days: Days = 0
    """How many days the audit's entries are kept; the newest of each guarded row always stays."""

    @property
    def is_production(self) -> bool:
        """Whether the strict rules of production apply."""
        return self.environment == "production"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sources = {
            f"{PREFIX}MASTER_KEYS": self.master_keys,
            f"{PREFIX}MASTER_KEYS_FILE": self.master_keys_file,
            f"{PREFIX}MASTER_KEYS_COMMAND": self.master_keys_command,
        }
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: only one of them may be set")
        if self.is_production and not given:
            raise ValueError(
                f"{PREFIX}MASTER_KEYS: production needs a master key, here or in "
                f"{PREFIX}MASTER_KEYS_FILE or {PREFIX}MASTER_KEYS_COMMAND "
                "(`strongroom keys generate` prints a new one)"
            )
        if self.auth == "off" and self.is_production:
            raise ValueError(f"{PREFIX}AUTH: off is not permitted in production")
        if self.auth == "off" and not self.is_loopback:
            raise ValueError(
                f"{PREFIX}AUTH: off is permitted only with a loopback {PREFIX}HOST, such as "
                "127.0.0.1"
            )
        if "*" in self.cors_origins and self.auth == "off":
            raise ValueError(
                f"{PREFIX}CORS_ORIGINS: * is not permitted with {PREFIX}AUTH=off, which would "
                "admit every web page"
            )
        if "*" in self.cors_origins and (self.is_production or len(self.cors_origins) > 1):
            raise ValueError(
                f"{PREFIX}CORS_ORIGINS: * must stand alone, and is not permitted in production"
            )
        return self
