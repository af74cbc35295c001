"""What can be set.

Every setting is a `STRONGROOM_` variable in the environment; what is passed to the constructor (a
command's flags) wins over it.
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
    """The configuration is wrong. The message is one line, names variables, and shows no value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be, said to whoever set another one. Stands in a field's annotation."""

    must: str


Days = Annotated[
    int, Field(ge=0, le=36_500), Rule("must be a number of days up to 36500; 0 for no limit")
]
Count = Annotated[
    int, Field(ge=0, le=10**12), Rule("must be a number up to 1000000000000; 0 for no limit")
]


class Settings(BaseSettings):
    """The configuration of one process. Immutable; its `repr` shows no secret.

    Constructed directly it raises pydantic's `ValidationError` (without the values);
    `load_settings` says the same in one line.
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
    """`production` refuses what is only convenient: no master key, no authentication."""

    data_dir: Annotated[
        Path, BeforeValidator(values.path), Rule("must be the path of a directory")
    ] = Path("data")
    """Holds `strongroom.db` and what belongs to it; made when it is missing."""

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
    """The port to listen on; 0 takes a free one."""

    master_keys: Annotated[
        SecretStr | None, Rule("must be id:base64key, or several separated by commas")
    ] = None
    """Master keys as text, `id:base64key[,id:base64key…]`: the first encrypts, all decrypt."""

    master_keys_file: Annotated[
        Path | None, BeforeValidator(values.path), Rule("must be the path of a file")
    ] = None
    """A file with the same text, readable by its owner only."""

    master_keys_command: Annotated[
        str | None, Field(repr=False), Rule("must be a command and its arguments")
    ] = None
    """A command that prints the same text; started without a shell."""

    auth: Annotated[
        Literal["token", "off"], BeforeValidator(values.lower), Rule("must be token or off")
    ] = "token"
    """`off` asks nobody for a token: outside production and on a loopback host only."""

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
    """Origins whose pages may call the service; `*` for all of them, outside production only."""

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
    """Hosts that a request may be for, by its `Host` header; none means any."""

    public_url: Annotated[
        str | None,
        BeforeValidator(values.clean),
        AfterValidator(values.public_url),
        Rule("must be an http or https URL without a path, such as https://strongroom.example.com"),
    ] = None
    """The URL under which browsers see the service: its own origin."""

    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        NoDecode,
        BeforeValidator(values.split),
        AfterValidator(values.networks),
        Rule("must be addresses or networks such as 10.0.0.7 or 10.0.0.0/8, separated by commas"),
    ] = ()
    """Proxies that are believed when they say where a request comes from."""

    docs: Annotated[
        Literal["on", "off"], BeforeValidator(values.lower), Rule("must be on or off")
    ] = "on"
    """`off`: there is neither `/docs` nor `/openapi.json`."""

    max_connections: Annotated[
        int, Field(ge=1, le=1_000_000), Rule("must be an integer between 1 and 1000000")
    ] = 4096
    """Connections at once; one more is answered 503 and closed."""

    max_concurrent_requests: Annotated[
        int, Field(ge=1, le=100_000), Rule("must be an integer between 1 and 100000")
    ] = 16
    """Requests that read, and as many that write, that are worked on at once; the others wait, and
    tokens take turns."""

    max_body_bytes: Annotated[
        int, Field(ge=1, le=2**30), Rule("must be an integer between 1 and 1073741824")
    ] = 1024 * 1024
    """A larger request body gets 413."""

    token_rate_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000), Rule("must be an integer between 0 and 1000000")
    ] = 0
    """Requests that each token may send in a minute, in a burst or evenly; 0 is no limit. One
    more gets 429."""

    failed_attempts_per_minute: Annotated[
        int, Field(ge=0, le=1_000_000), Rule("must be an integer between 0 and 1000000")
    ] = 600
    """Requests without a valid token that each address may send in a minute; 0 is no limit. One
    more gets 429 in the place of 401; valid tokens are never counted."""

    audit_heads_seconds: Annotated[
        float,
        Field(ge=0.1, le=3600, allow_inf_nan=False),
        Rule("must be a number of seconds between 0.1 and 3600"),
    ] = 10.0
    """How often the end of the audit is written to `audit.heads`, if it has moved."""

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
    """How a log line looks; None means `console` on a terminal and `json` elsewhere."""

    db_readers: Annotated[int, Field(ge=1, le=64), Rule("must be an integer between 1 and 64")] = 4
    """Connections that read. One slow query occupies one of them."""

    db_queue_limit: Annotated[
        int, Field(ge=1, le=1_000_000), Rule("must be an integer between 1 and 1000000")
    ] = 10_000
    """Units of work that may wait for the database; one more is answered 503 at once."""

    db_queue_timeout_seconds: Annotated[
        float,
        Field(gt=0, le=300, allow_inf_nan=False),
        Rule("must be a number of seconds above 0 and up to 300"),
    ] = 5.0
    """How long a unit of work may wait before it is answered 503, without effect."""

    checkpoints: Annotated[
        Literal["own", "litestream"],
        BeforeValidator(values.lower),
        Rule("must be own or litestream"),
    ] = "own"
    """Who copies the write-ahead log into the database file: `litestream` leaves it to a Litestream
    process that replicates the database."""

    keep_logs_days: Days = 30
    """Older logs are removed; 0 for no limit, here and below."""

    keep_logs: Count = 5_000_000
    """As many logs stay, the newest, without the service's own."""

    keep_own_logs: Count = 100_000
    """As many of the service's own warnings and errors stay, the newest."""

    keep_runs_days: Days = 0
    """Runs that ended longer ago are removed."""

    keep_runs: Count = 0
    """As many runs of each project stay, the newest; unfinished ones always do."""

    keep_deliveries_days: Days = 30
    """Older deliveries to webhooks are removed."""

    keep_deliveries: Count = 0
    """As many deliveries stay, the newest."""

    @property
    def is_production(self) -> bool:
        """Whether the strict rules of production hold."""
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
