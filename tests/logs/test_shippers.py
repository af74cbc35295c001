"""The configurations of docs/shippers.md, and the requests that the shippers make with them.

The shippers themselves are not installed here. The requests are as Vector (`src/sinks/http`) and
Fluent Bit (`plugins/out_http`) build them: headers, framing and compression by the configuration of
the page, and the lines that the page shows.
"""

import gzip
import http.client
import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.support.clients import client_at, token_of_first_start
from tests.support.servers import RunningServer

PAGE = (Path(__file__).parents[2] / "docs" / "shippers.md").read_text("utf-8")
COUNT = 1000
VECTOR_TYPES = {("json", "newline_delimited"): "application/x-ndjson"}
FLUENT_BIT_TYPES = {"json": "application/json", "json_stream": "application/json"}
FLUENT_BIT_TYPES["json_lines"] = "application/x-ndjson"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


def block(section: str, language: str) -> str:
    """The text of the only block in this language in a section of the page."""
    [text] = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def vector() -> dict[str, Any]:
    return tomllib.loads(block("Vector", "toml"))


def fluent_bit() -> dict[str, Any]:
    # Without types of its own.
    yaml: Any = import_module("yaml")
    configuration: dict[str, Any] = yaml.safe_load(block("Fluent Bit", "yaml"))
    return configuration


def with_variables(text: str, **variables: str) -> str:
    """The text with its environment variables, as both shippers replace them."""
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)


@pytest.fixture
def token(installed: Settings) -> str:
    return token_of_first_start(installed)


def post(server: RunningServer, uri: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """The status and the JSON of the answer to exactly these headers."""
    connection = http.client.HTTPConnection(*server.address)
    try:
        connection.putrequest("POST", uri, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def stored(server: RunningServer, token: str) -> list[dict[str, Any]]:
    with client_at(server.url, token) as client:
        logs: list[dict[str, Any]] = client.get("/api/logs?limit=500&level=warn").json()["logs"]
    return logs


def check_stored(server: RunningServer, token: str, line: str) -> None:
    logs = stored(server, token)
    assert len(logs) == 500
    sent = json.loads(line)
    for item in logs:
        assert item["level"] == "WARNING"
        assert item["timestamp"] == "2026-01-31T12:00:00.123456Z"
        assert {name: item[name] for name in ("message", "component", "context")} == {
            name: sent[name] for name in ("message", "component", "context")
        }


def test_what_vector_sends_is_stored(server: RunningServer, token: str) -> None:
    sink = vector()["sinks"]["strongroom"]
    variables = {"STRONGROOM_URL": server.url, "STRONGROOM_TOKEN": token}
    uri = with_variables(sink["uri"], **variables)
    assert uri == f"{server.url}/api/logs"
    assert (sink["type"], sink["method"], sink["compression"]) == ("http", "post", "gzip")
    assert sink["auth"]["strategy"] == "bearer"
    assert sink["batch"]["max_events"] == COUNT
    line = block("Vector", "json").strip()
    # Without the last end of a line.
    body = gzip.compress("\n".join([line] * COUNT).encode())
    headers = {
        "content-type": VECTOR_TYPES[sink["encoding"]["codec"], sink["framing"]["method"]],
        "content-encoding": "gzip",
        "user-agent": "Vector/0.50.0 (x86_64-unknown-linux-gnu)",
        "accept-encoding": "identity",
        "authorization": f"Bearer {with_variables(sink['auth']['token'], **variables)}",
    }
    assert post(server, "/api/logs", body, headers) == (201, {"accepted": COUNT})
    check_stored(server, token, line)


def test_the_health_check_of_vector_succeeds(server: RunningServer, token: str) -> None:
    check = vector()["sinks"]["strongroom"]["healthcheck"]["uri"]
    with client_at(server.url, token) as client:
        assert client.head(with_variables(check, STRONGROOM_URL=server.url)).status_code == 200


def test_what_fluent_bit_sends_is_stored(server: RunningServer, token: str) -> None:
    [output] = fluent_bit()["pipeline"]["outputs"]
    assert (output["name"], output["compress"]) == ("http", "gzip")
    assert output["uri"] == "/api/logs"
    assert output["json_date_format"] == "iso8601"
    line = block("Fluent Bit", "json").strip()
    assert next(iter(json.loads(line))) == output["json_date_key"]
    name, _, value = output["header"].partition(" ")
    # Each line has an end.
    body = gzip.compress("".join(f"{line}\n" for _ in range(COUNT)).encode())
    headers = {
        "Content-Type": FLUENT_BIT_TYPES[output["format"]],
        "Content-Encoding": "gzip",
        "User-Agent": "Fluent-Bit",
        name: with_variables(value, STRONGROOM_TOKEN=token),
    }
    assert post(server, output["uri"], body, headers) == (201, {"accepted": COUNT})
    check_stored(server, token, line)


def test_the_example_lines_have_the_fields_that_the_configurations_make() -> None:
    program = vector()["transforms"]["as_logs"]["source"]
    [made] = re.findall(r"^\. = \{\n(.*?)^\}", program, re.DOTALL | re.MULTILINE)
    fields = set(re.findall(r'^  "(\w+)":', made, re.MULTILINE))
    example = json.loads(block("Vector", "json"))
    assert fields == set(example)
    # As Vector writes objects and times.
    assert list(example) == sorted(example)
    assert RFC_3339.fullmatch(example["timestamp"])
    [lua] = fluent_bit()["pipeline"]["filters"]
    [_, made] = lua["code"].split("return 2, timestamp, {\n")
    fields = set(re.findall(r"^    (\w+) =", made, re.MULTILINE))
    example = json.loads(block("Fluent Bit", "json"))
    assert fields | {"timestamp"} == set(example)
    assert RFC_3339.fullmatch(example["timestamp"])
    assert f"function {lua['call']}(" in lua["code"]


def test_both_give_levels_that_are_taken(server: RunningServer, token: str) -> None:
    program = vector()["transforms"]["as_logs"]["source"]
    [listed] = re.findall(r"includes\(\[(.*?)\], level\)", program)
    names = set(re.findall(r'"(\w+)"', listed))
    [lua] = fluent_bit()["pipeline"]["filters"]
    [table] = re.findall(r"local levels = \{(.*?)\}", lua["code"], re.DOTALL)
    assert set(re.findall(r"(\w+) = true", table)) == names
    body = "".join(json.dumps({"level": name, "message": "m"}) + "\n" for name in names).encode()
    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"}
    assert post(server, "/api/logs", body, headers) == (201, {"accepted": len(names)})
