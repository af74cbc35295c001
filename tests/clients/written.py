"""Programs in TypeScript that are written from the OpenAPI document, so that they cover every
operation that there is."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.routes import Call, all_calls

HEAD = """\
import { connect } from "./strongroom.js"

const client = connect({ url: "http://127.0.0.1:8000", token: "sr_" })
"""
CHANGES = ("PUT", "PATCH")


def every_call() -> str:
    """A program with each operation, with each of its bodies' examples and without what is
    optional."""
    lines = [HEAD]
    for call in all_calls():
        for body in bodies(call):
            told = {**parameters(call), **body}
            lines.append(f"await client.{call.method}({json.dumps(call.template)}, {_text(told)})")
    return "\n".join(lines) + "\n"


def _text(options: dict[str, Any]) -> str:
    return json.dumps(options, ensure_ascii=False)


def bodies(call: Call) -> Iterator[dict[str, Any]]:
    """The examples of its body; nothing for an operation without one."""
    if not call.takes_body:
        yield {}
        return
    for example in call.body_schema["examples"]:
        yield {"body": example}


def parameters(call: Call) -> dict[str, Any]:
    """The parameters that it requires."""
    path = {one["name"]: _any(one["schema"]) for one in call.parameters("path")}
    required = {"path": path, "header": call.headers}
    return {"params": {place: values for place, values in required.items() if values}}


def _any(schema: dict[str, Any]) -> Any:
    return 1 if schema.get("type") == "integer" else "a"


def sent_back() -> str:
    """A program whose types hold only if what is read somewhere can be sent back to it."""
    calls = {(call.method, call.template): call for call in all_calls()}
    lines = [
        'import type { paths } from "./api.js"',
        "type Read<P extends keyof paths> = paths[P] extends {",
        '  get: { responses: { 200: { content: { "application/json": infer R } } } }',
        "} ? R : never",
        "type Sent<O> = O extends {",
        '  requestBody?: { content: { "application/json": infer B } }',
        "} ? B : never",
        "function takes<T>(_: T): void {}",
        # Anything takes what has the type never, so that a type that is not found would pass.
        "function found<T>(..._: [T] extends [never] ? [never] : []): void {}",
    ]
    for method, template in calls:
        if method in CHANGES and ("GET", template) in calls:
            path, name = json.dumps(template), method.lower()
            lines.append(f"found<Read<{path}>>()")
            lines.append(f"takes<Sent<paths[{path}][{json.dumps(name)}]>>({{}} as Read<{path}>)")
    return "\n".join(lines) + "\n"
