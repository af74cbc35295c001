import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from backend.schemas.base import RequestModel
from backend.schemas.projects import (
    ProjectCreate,
    ProjectSettingsCreate,
    ProjectSettingsUpdate,
    ProjectUpdate,
)
from backend.schemas.secrets import SecretCreate, SecretsUpsert, SecretValue
from models import BranchName
from tests.support.model_errors import errors_of

MADE = {"name": "Payments", "github_owner": "acme", "github_repo": "payments"}
SECRET = {"key": "API_KEY", "value": "v"}
LONE = "\ud800"
REQUESTS: list[type[RequestModel]] = [
    ProjectCreate,
    ProjectSettingsCreate,
    ProjectSettingsUpdate,
    ProjectUpdate,
    SecretCreate,
    SecretValue,
    SecretsUpsert,
]

GOOD = [
    ("name", "x"),
    ("name", " Näme\twith\nall 💥 "),
    ("name", "é" * 255),
    ("github_owner", "a" * 100),
    ("github_repo", ".github"),
    ("github_repo", "..."),
    ("github_repo", "été.%2F?#"),
    ("webhook_url", "http://x"),
    ("webhook_url", "HTTPS://Host.example:65535/A?b=c&d#é"),
    ("webhook_url", "http://[::1]:8080/hook"),
    ("webhook_url", "https://hooks.example.com?x=user:pw@here"),
    ("webhook_url", "https://bücher.example/ü"),
    ("webhook_url", "https://x/" + "y" * 2038),
]
BAD = [
    ("name", ""),
    ("name", " \t\n\u00a0\u2003"),
    ("name", "a\0b"),
    ("name", "sentinel" + LONE),
    ("name", "é" * 256),
    ("github_owner", ""),
    ("github_owner", "sentinel/owner"),
    ("github_owner", "sentinel owner"),
    ("github_owner", "sentinel\n"),
    ("github_owner", "sentinel\u0085"),
    ("github_owner", "sentinel\u2028"),
    ("github_owner", "a" * 101),
    ("github_repo", "."),
    ("github_repo", ".."),
    ("github_repo", "a\0b"),
    ("github_repo", LONE),
    ("webhook_url", ""),
    ("webhook_url", "sentinel.example.com"),
    ("webhook_url", "ftp://sentinel.example.com"),
    ("webhook_url", "javascript:alert(1)//http://"),
    ("webhook_url", " https://sentinel.example.com"),
    ("webhook_url", "https://sentinel.example.com\n"),
    ("webhook_url", "https://sentinel.example.com/a b"),
    ("webhook_url", "https://sentinel.example.com/\0"),
    ("webhook_url", "https://sentinel.example.com/" + LONE),
    ("webhook_url", "https://"),
    ("webhook_url", "https:///sentinel"),
    ("webhook_url", "https://?sentinel"),
    ("webhook_url", "https://:443/sentinel"),
    ("webhook_url", "https://."),
    ("webhook_url", "https://user:sentinel@example.com/"),
    ("webhook_url", "https://sentinel@example.com/"),
    ("webhook_url", "https://example.com:65536/"),
    ("webhook_url", "https://example.com:port/"),
    ("webhook_url", "https://[sentinel]/"),
    ("webhook_url", r"https:\\sentinel.example.com"),
    ("webhook_url", "https://x/" + "y" * 2039),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_a_good_value_is_kept_exactly(field: str, value: str) -> None:
    assert ProjectUpdate.model_validate({field: value}).given_fields() == {field: value}
    assert re.search(pattern_of(ProjectUpdate, field), value)


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused_and_not_repeated(field: str, value: str) -> None:
    assert [place for place, _ in errors_of(ProjectUpdate, {field: value})] == [field]


def pattern_of(model: type[BaseModel], field: str) -> str:
    schema = model.model_json_schema()["properties"][field]
    pattern: str = schema.get("pattern") or schema["anyOf"][0]["pattern"]
    return pattern


@pytest.mark.parametrize("field", ["planning_statement", "repository_rules", "setup_commands"])
def test_a_text_of_settings_has_any_characters_but_nul(field: str) -> None:
    text = " \r\n\t\u2028💥" + "x" * 999_994
    assert getattr(ProjectSettingsUpdate.model_validate({field: text}), field) == text
    assert errors_of(ProjectSettingsUpdate, {field: text + "x"}) == [(field, "string_too_long")]
    assert errors_of(ProjectSettingsUpdate, {field: "sentinel\0"}) == [(field, "nul_character")]
    assert errors_of(ProjectSettingsUpdate, {field: LONE}) == [(field, "string_unicode")]


# Branch names

BRANCHES = TypeAdapter(BranchName)


def is_branch(name: str) -> bool:
    try:
        return bool(BRANCHES.validate_python(name) == name)
    except ValidationError:
        return False


@pytest.mark.parametrize(
    "name",
    ["main", "release/2.x", "feature/ünïcode", "a.lockx/b", "a@b", "a/@", "héad", "a-", "x" * 244],
)
def test_a_branch_name_is_taken(name: str) -> None:
    assert is_branch(name)
    assert re.search(pattern_of(ProjectSettingsUpdate, "branch_name"), name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "@", "HEAD", "-a", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a..b", "a.lock"),
        *("a.lock/b", "a@{b", "a b", "a\tb", "a\n", "a\x7f", "a\0"),
        *(f"a{c}b" for c in "~^:?*[\\"),
        *("x" * 245, "é" * 123, LONE),
    ],
)
def test_no_branch_has_such_a_name(name: str) -> None:
    assert not is_branch(name)
    assert [p for p, _ in errors_of(ProjectSettingsUpdate, {"branch_name": name})] == [
        "branch_name"
    ]


BRANCH_PIECES = ["a", "é", "/", ".", "..", ".lock", "@", "{", "}", "-", "~", "^", ":", "?", "*"]
BRANCH_PIECES += [
    "[",
    "]",
    "\\",
    " ",
    "\t",
    "\x7f",
    "\n",
    "'",
    '"',
    "$",
    "HEAD",
    "lock",
    "refs/heads/",
]


@pytest.mark.parametrize("firsts", [10, pytest.param(None, marks=pytest.mark.long_form)])
def test_git_agrees_on_branch_names(firsts: int | None) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    names = {first + second for first in BRANCH_PIECES for second in BRANCH_PIECES[:10]}
    names |= {
        first + second + third
        for first in BRANCH_PIECES[:firsts]
        for second in BRANCH_PIECES[:10]
        for third in ("a", *BRANCH_PIECES[2:7])
    }
    # Git accepts a lone @ as a branch here, although it means HEAD everywhere else.
    names.discard("@")
    # A shell starts hundreds of processes in half the time that Python takes.
    script = 'for name; do git check-ref-format --branch "$name"; printf "%s\\0" $?; done'
    command = ["/bin/sh", "-c", script, "sh", *sorted(names)]
    env = {**os.environ, "PATH": f"{Path(git).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    answers = done.stdout.split(b"\0")[:-1]
    for name, answer in zip(sorted(names), answers, strict=True):
        # If the answer contains another name, git has interpreted this one as an expression.
        assert is_branch(name) == (answer == name.encode() + b"\n0"), name


# Secrets


def test_a_key_may_be_called_key_name() -> None:
    assert SecretCreate.model_validate({"key_name": "K", "value": "v"}).key == "K"
    both = {"key": "K", "key_name": "K", "value": "v"}
    assert errors_of(SecretCreate, both) == [("key_name", "extra_forbidden")]
    assert errors_of(SecretCreate, {"value": "v"}) == [("key", "missing")]


@pytest.mark.parametrize("key", ["A", "_", "a1_", "A" * 100])
def test_a_good_key_is_taken(key: str) -> None:
    assert SecretCreate.model_validate({"key": key, "value": "v"}).key == key


@pytest.mark.parametrize(
    "key", ["", "1A", "A-B", "A B", "A\n", "É", "\uff21", "A٣", "A" * 101, LONE, 5]
)
def test_a_bad_key_is_refused(key: object) -> None:
    assert [p for p, _ in errors_of(SecretCreate, {"key": key, "value": "v"})] == ["key"]


@pytest.mark.parametrize(
    "value", ["x", " ", "\n\r\t\x01\x7f", "💥" * 16_384, "x" * 65_536, "é" * 32_768, "\"\\'"]
)
def test_a_value_is_kept_exactly(value: str) -> None:
    secret = SecretCreate.model_validate({"key": "K", "value": value}).value
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "secret_size"),
        ("sentinel" * 8192 + "x", "secret_size"),
        ("é" * 32_769, "secret_size"),
        ("sentinel\0", "secret_nul"),
        ("sentinel" + LONE, "secret_unicode"),
        (5, "string_type"),
        (None, "string_type"),
        (["sentinel"], "string_type"),
        ({"sentinel": "sentinel"}, "string_type"),
    ],
)
def test_a_bad_value_is_refused_and_leaves_no_trace(value: object, code: str) -> None:
    assert errors_of(SecretValue, {"value": value}) == [("value", code)]
    assert errors_of(SecretsUpsert, {"secrets": [SECRET, {"key": "K", "value": value}]}) == [
        ("secrets/1/value", code)
    ]


def test_an_error_of_a_value_holds_no_exception_with_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        SecretValue.model_validate({"value": "sentinel" + LONE})
    assert "ctx" not in caught.value.errors()[0]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("model", [SecretsUpsert, ProjectCreate])
def test_a_key_twice_in_one_request_is_refused(model: type[RequestModel]) -> None:
    secrets = [SECRET, {"key": "OTHER", "value": "v"}, {"key_name": "API_KEY", "value": "sentinel"}]
    data: dict[str, Any] = {"secrets": secrets}
    if model is ProjectCreate:
        data |= MADE
    assert errors_of(model, data) == [("secrets/2/key", "repeated_key")]


def test_a_request_has_500_secrets_at_most() -> None:
    secrets = [{"key": f"K{n}", "value": "v"} for n in range(501)]
    assert len(SecretsUpsert.model_validate({"secrets": secrets[:500]}).secrets) == 500
    assert errors_of(SecretsUpsert, {"secrets": secrets}) == [("secrets", "too_long")]
    assert SecretsUpsert.model_validate({"secrets": []}).secrets == []


# Their description in the API document


@pytest.mark.parametrize("model", REQUESTS)
def test_examples_are_valid(model: type[RequestModel]) -> None:
    examples = model.model_json_schema().get("examples")
    assert examples
    for example in examples:
        model.model_validate(example)


@pytest.mark.parametrize("model", REQUESTS)
def test_patterns_avoid_what_differs_between_languages(model: type[RequestModel]) -> None:
    text = json.dumps(model.model_json_schema())
    for pattern in re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', text):
        unescaped = json.loads(f'"{pattern}"')
        re.compile(unescaped)
        assert unescaped.startswith("^")
        assert unescaped.endswith("$")
        assert not re.search(r"\\[swdbAZzUN]|\(\?P|\(\?<", unescaped)


def test_only_nullable_fields_are_described_as_nullable() -> None:
    for model, nullable in (
        (ProjectUpdate, {"webhook_url"}),
        (
            ProjectSettingsUpdate,
            {"planning_statement", "repository_rules", "setup_commands"},
        ),
    ):
        schema = model.model_json_schema()
        properties = schema["properties"]
        assert {
            n for n, p in properties.items() if {"type": "null"} in p.get("anyOf", [])
        } == nullable
        assert not [name for name, p in properties.items() if "default" in p]
        assert schema.get("required") is None
        assert schema["additionalProperties"] is False


def test_a_value_is_described_as_a_password() -> None:
    value = SecretCreate.model_json_schema()["properties"]["value"]
    assert (value["format"], value["writeOnly"]) == ("password", True)
    assert (value["minLength"], value["maxLength"]) == (1, 65_536)
