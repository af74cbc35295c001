"""The environment, `.env` and flags in their order; wrong values are named and never shown."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.loading import RETIRED_VARIABLES, load_settings, retired_variables, variable_names
from config.settings import PREFIX, Rule, Settings, SettingsError

KEY = "k1:c2VjcmV0LWtleS1tYXRlcmlhbC0zMi1ieXRlcyEhISE="


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _problem(*, dotenv: bool = False, **overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(dotenv=dotenv, **overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = load_settings()
    assert settings.environment == "development"
    assert settings.data_dir == Path("data")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.auth == "token"
    assert settings.cors_origins == ()
    assert settings.trusted_hosts == ()
    assert settings.docs == "on"
    assert settings.max_connections == 4096
    assert settings.max_body_bytes == 1048576
    assert (settings.log_level, settings.log_format) == ("INFO", None)
    assert settings.master_keys is None
    assert settings.master_keys_file is None
    assert settings.master_keys_command is None


def test_flags_win_over_the_environment_which_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "STRONGROOM_PORT=1001\nSTRONGROOM_HOST=file.test\nSTRONGROOM_LOG_LEVEL=error\nUNRELATED=1\n"
    )
    monkeypatch.setenv("STRONGROOM_PORT", "1002")
    monkeypatch.setenv("STRONGROOM_HOST", "environment.test")
    settings = load_settings(dotenv=True, port=1003, host=None, data_dir="elsewhere")
    assert settings.port == 1003
    assert settings.host == "environment.test"
    assert settings.log_level == "ERROR"
    assert settings.data_dir == Path("elsewhere")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", "")
    monkeypatch.setenv("STRONGROOM_PORT", "")
    assert load_settings() == Settings()


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("STRONGROOM_DATA_DIR", "~/strongroom")
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS_FILE", "~/keys")
    settings = load_settings()
    assert settings.data_dir == Path("/home/somebody/strongroom")
    assert settings.master_keys_file == Path("/home/somebody/keys")


def test_every_path_may_be_anything_but_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)
    ]
    assert {"data_dir", "master_keys_file"} <= set(paths)
    for name in paths:
        variable = PREFIX + name.upper()
        for value in ("", " ", "\t", "~no-such-user-here/data"):
            monkeypatch.setenv(variable, value)
            assert _problem().startswith(f"{variable}: must be the path of a ")
            flag: dict[str, Any] = {name: value}
            assert _problem(**flag).startswith(f"--{name.replace('_', '-')}: must be")
            # A flag overrides a variable with a wrong value.
            flag[name] = "elsewhere"
            assert getattr(load_settings(**flag), name) == Path("elsewhere")
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("ENVIRONMENT", "hunter2", "must be development, testing or production"),
        ("HOST", "hunter2 and more", "must be a host name or address"),
        ("HOST", "http://hunter2", "must be a host name or address"),
        ("PORT", "hunter2", "must be an integer between 0 and 65535"),
        ("PORT", "65536", "must be an integer between 0 and 65535"),
        ("PORT", "-1", "must be an integer between 0 and 65535"),
        ("AUTH", "hunter2", "must be token or off"),
        ("CORS_ORIGINS", "hunter2", "must be origins"),
        ("CORS_ORIGINS", "https://hunter2.test/path", "must be origins"),
        ("CORS_ORIGINS", "https://hunter2.test?q", "must be origins"),
        ("CORS_ORIGINS", "https://me@hunter2.test", "must be origins"),
        ("CORS_ORIGINS", "https://hunter2.test:99999", "must be origins"),
        ("CORS_ORIGINS", "https://hunter2.test,ftp://hunter2.test", "must be origins"),
        ("CORS_ORIGINS", "https://[hunter2", "must be origins"),
        *(
            ("CORS_ORIGINS", wrong, "must be origins")
            for wrong in (
                *("http://*.hunter2", "https://*", "*.hunter2.test", "//hunter2.test"),
                *("https://hunter2.test#", "https://hunter2.test?", "https://hunter2.test//"),
                *(
                    "https://hunter2.test:0",
                    "https://hunter2.test:80:80",
                    "https://:443",
                    "https://",
                ),
                *(
                    "https://hunter2..test",
                    "https://.hunter2",
                    "https://hunter2 .test",
                    "https:hunter2",
                ),
                *("https:\\\\hunter2", "https://hunt\ter2", "https://hunter2%2etest", "null"),
                *("https://hünter2.test", "wss://hunter2.test", "file:///hunter2", "http://::1"),
                *("http://127.1", "http://2130706433", "http://0x7f.0.0.1", "http://010.0.0.1"),
                *(
                    "http://1.2.3.4.",
                    "http://[fe80::1%25hunter2]",
                    "http://[1.2.3.4]",
                    "http://[::1",
                ),
                f"https://{'hunter2.' * 40}test",
            )
        ),
        *(
            ("PUBLIC_URL", wrong, "must be an http or https URL without a path")
            for wrong in (
                *(
                    "hunter2",
                    "*",
                    "https://*",
                    "https://hunter2.test/path",
                    "https://me@hunter2.test",
                ),
                *("https://hunter2.test?q", "https://hunter2.test#f", "ftp://hunter2.test"),
                *("https://a.test,https://hunter2.test", "https://hunter2.test:99999"),
            )
        ),
        *(
            ("TRUSTED_PROXIES", wrong, "must be addresses or networks")
            for wrong in (
                *(
                    "hunter2",
                    "*",
                    "10.0.0.1/8",
                    "10.0.0.0/33",
                    "10.0.0.1:80",
                    "[::1]",
                    "5",
                    "::1/129",
                ),
                *("127.0.0.1,hunter2.test", "fe80::1%hunter2", "010.0.0.1", "10.0.0", "localhost"),
            )
        ),
        ("TRUSTED_HOSTS", "http://hunter2.test", "must be host names"),
        ("TRUSTED_HOSTS", "hunter2.test:80", "must be host names"),
        ("TRUSTED_HOSTS", "a.test,hunter2_.test/", "must be host names"),
        ("TRUSTED_HOSTS", "hunter2.*", "must be host names"),
        ("TRUSTED_HOSTS", "*", "must be host names"),
        ("TRUSTED_HOSTS", "::1", "must be host names"),
        ("DOCS", "hunter2", "must be on or off"),
        ("MAX_CONNECTIONS", "0", "must be an integer between 1 and"),
        ("MAX_BODY_BYTES", "0", "must be an integer between 1 and"),
        ("LOG_LEVEL", "hunter2", "must be DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("LOG_FORMAT", "hunter2", "must be console or json"),
        ("DB_READERS", "0", "must be an integer between 1 and 64"),
        ("DB_QUEUE_LIMIT", "hunter2", "must be an integer between 1 and"),
        ("DB_QUEUE_TIMEOUT_SECONDS", "nan", "must be a number of seconds above 0"),
        ("DB_QUEUE_TIMEOUT_SECONDS", "inf", "must be a number of seconds above 0"),
        ("DB_QUEUE_TIMEOUT_SECONDS", "0", "must be a number of seconds above 0"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule_and_not_shown(
    name: str, value: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    text = _problem()
    assert text.startswith(f"STRONGROOM_{name}: {rule}")
    assert "hunter2" not in text


def test_every_wrong_value_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_PORT", "x")
    monkeypatch.setenv("STRONGROOM_AUTH", "x")
    text = _problem()
    assert "STRONGROOM_PORT: " in text
    assert "; STRONGROOM_AUTH: " in text


def test_a_wrong_flag_is_named_as_the_flag() -> None:
    assert _problem(port="hunter2") == "--port: must be an integer between 0 and 65535"
    assert _problem(max_body_bytes=0).startswith("--max-body-bytes: must be ")
    assert _problem(cors_origins=7).startswith("--cors-origins: must be ")
    assert _problem(cors_origins=(7, 8)).count("--cors-origins: must be ") == 1


def test_an_override_that_is_no_setting_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="no such setting: prot"):
        load_settings(prot=None)


def test_a_misspelt_variable_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_PROT", "hunter2")
    assert _problem() == "STRONGROOM_PROT: no such setting, did you mean STRONGROOM_PORT?"
    monkeypatch.delenv("STRONGROOM_PROT")
    (tmp_path / ".env").write_text("STRONGROOM_ZZZZZZZZZZZZZZ=hunter2\n")
    assert _problem(dotenv=True) == "STRONGROOM_ZZZZZZZZZZZZZZ: no such setting"


@pytest.mark.parametrize("name", sorted(RETIRED_VARIABLES))
def test_a_setting_of_an_earlier_version_stops_no_start_and_can_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert name not in variable_names()
    assert retired_variables(dotenv=True) == []
    (tmp_path / ".env").write_text(f"{name}=10\n")
    assert load_settings(dotenv=True) == load_settings()
    assert (retired_variables(dotenv=True), retired_variables()) == ([name], [])
    monkeypatch.setenv(name.lower(), "3600")
    load_settings()
    assert retired_variables() == [name]


def test_what_a_client_keeps_in_the_same_shell_is_no_misspelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STRONGROOM_TOKEN", "sr_token")
    monkeypatch.setenv("STRONGROOM_URL", "http://127.0.0.1:8000")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("https://App.Example.com", ("https://app.example.com",)),
        ("https://a.test:443, http://b.test:80/", ("https://a.test", "http://b.test")),
        ("http://localhost:5173,,http://localhost:5173", ("http://localhost:5173",)),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("HTTPS://A.example:0443/", ("https://a.example",)),
        ("http://a.test:, http://a.test", ("http://a.test",)),
        ("http://[0:0:0::0001]", ("http://[::1]",)),
        ("http://[::ffff:127.0.0.1]:80", ("http://[::ffff:7f00:1]",)),
        ("http://127.0.0.1:8000", ("http://127.0.0.1:8000",)),
        ("https://xn--hnter2-3ya.test.", ("https://xn--hnter2-3ya.test.",)),
        ("http://my_host,http://a-b.test", ("http://my_host", "http://a-b.test")),
        ("*", ("*",)),
    ],
)
def test_origins_are_kept_as_a_browser_sends_them(
    given: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_CORS_ORIGINS", given)
    assert load_settings().cors_origins == origins


def test_hosts_are_kept_as_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "Strongroom.example.com, *.Internal.test,,127.0.0.1,[0:0::1],127.0.0.1,my_host"
    monkeypatch.setenv("STRONGROOM_TRUSTED_HOSTS", given)
    assert load_settings().trusted_hosts == (
        *("strongroom.example.com", "*.internal.test", "127.0.0.1", "[::1]", "my_host"),
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://strongroom.example.com", "https://strongroom.example.com"),
        (" HTTPS://Strongroom.example.com:443/ ", "https://strongroom.example.com"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("", None),
    ],
)
def test_the_public_url_is_kept_as_an_origin(
    given: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_PUBLIC_URL", given)
    assert load_settings().public_url == url


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "127.0.0.1, ::1,10.0.0.0/8,,fd00::/8,127.0.0.1/32,::ffff:192.0.2.7,::ffff:10.0.0.0/104"
    monkeypatch.setenv("STRONGROOM_TRUSTED_PROXIES", given)
    assert list(map(str, load_settings().trusted_proxies)) == [
        *("127.0.0.1/32", "::1/128", "10.0.0.0/8", "fd00::/8", "192.0.2.7/32"),
    ]
    monkeypatch.setenv("STRONGROOM_TRUSTED_PROXIES", "")
    assert load_settings().trusted_proxies == ()


def test_no_page_is_let_in_by_the_star_where_no_token_is_asked_for() -> None:
    text = _problem(cors_origins="*", auth="off")
    assert text.startswith("STRONGROOM_CORS_ORIGINS: * is not permitted with STRONGROOM_AUTH=off")
    assert load_settings(cors_origins="https://a.test", auth="off").auth == "off"


def test_the_star_stands_alone_and_outside_production() -> None:
    both = _problem(cors_origins="*,https://a.test")
    assert both.startswith("STRONGROOM_CORS_ORIGINS: * must stand alone")
    production = _problem(cors_origins="*", environment="production", master_keys=KEY)
    assert production.startswith("STRONGROOM_CORS_ORIGINS: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_auth_may_be_off_on_a_loopback_host(host: str) -> None:
    settings = load_settings(auth="off", host=host)
    assert settings.auth == "off"
    assert settings.is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example.com"])  # noqa: S104
def test_auth_may_not_be_off_where_others_can_call(host: str) -> None:
    text = _problem(auth="off", host=host)
    assert text.startswith("STRONGROOM_AUTH: off is permitted only with a loopback STRONGROOM_HOST")
    assert not load_settings(host=host).is_loopback


def test_auth_may_not_be_off_in_production() -> None:
    text = _problem(auth="off", environment="production", master_keys=KEY)
    assert text == "STRONGROOM_AUTH: off is not permitted in production"


def test_production_needs_a_master_key() -> None:
    text = _problem(environment="Production")
    assert text.startswith("STRONGROOM_MASTER_KEYS: production needs a master key")
    assert load_settings(environment="Production", master_keys=KEY).is_production


@pytest.mark.parametrize(
    "pair",
    [
        {"master_keys": KEY, "master_keys_file": "keys"},
        {"master_keys": KEY, "master_keys_command": "cat keys"},
        {"master_keys_file": "keys", "master_keys_command": "cat keys"},
    ],
)
def test_master_keys_come_from_one_source(pair: dict[str, Any]) -> None:
    text = _problem(**pair)
    assert text.endswith(": only one of them may be set")
    assert all(f"{PREFIX}{name.upper()}" in text for name in pair)
    assert KEY not in text


def test_no_secret_is_in_the_repr_or_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(master_keys=KEY)
    assert KEY not in repr(settings) + str(settings)
    assert settings.master_keys is not None
    assert settings.master_keys.get_secret_value() == KEY
    command = load_settings(master_keys_command="vault read -token=hunter2")
    assert "hunter2" not in repr(command) + str(command)
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", KEY)
    monkeypatch.setenv("STRONGROOM_PORT", "hunter2")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert KEY not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_every_field_says_its_rule() -> None:
    for name, field in Settings.model_fields.items():
        rules = [item for item in field.metadata if isinstance(item, Rule)]
        assert len(rules) == 1, name
        assert rules[0].must.startswith("must be "), name
    assert "STRONGROOM_DATA_DIR" in variable_names()
