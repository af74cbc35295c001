"""No text with a NUL reaches the database, because not every engine can store one."""

import re
from typing import Any

import httpx
import pytest

from database.base import encode
from database.errors import InvalidValue
from tests.runs.test_json_fields import shapes
from tests.support.routes import all_calls, make_something_of_everything
from tests.test_visible_names import short_texts

NEVER_STORED = {"dotenv", "lease_token", "token"}
"""Of some, only hashes are used in queries. The values in a file are checked one by one."""


def texts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The texts that a field may be, or that a list or an object in it may contain."""
    found = list(short_texts(schema, longest=10**9))
    for option in (schema, *schema.get("anyOf", ())):
        if isinstance(option.get("additionalProperties"), dict):
            found += texts(option["additionalProperties"])
    return found


def test_no_text_of_a_request_may_have_one() -> None:
    tried = 0
    for shape in shapes():
        for field, schema in shape.model_json_schema().get("properties", {}).items():
            for option in texts(schema):
                if field in NEVER_STORED or option.get("format") == "date-time":
                    continue
                pattern = option["pattern"]
                for text in ("\0", "a\0b", "https://a.example/\0"):
                    assert re.search(pattern, text) is None, (shape, field)
                tried += 1
    assert tried > 40


async def test_no_name_in_a_path_or_a_query_may_have_one(client: httpx.AsyncClient) -> None:
    await make_something_of_everything(client)
    tried = 0
    for call in all_calls():
        if not call.template.startswith("/api/"):
            continue
        for parameter in call.parameters("path"):
            answer = await client.request(
                call.method, call.path(**{parameter["name"]: "a%00b"}), json=call.takes_body or None
            )
            assert answer.status_code in (400, 422), f"{call}: {answer.text}"
            tried += 1
        for parameter in call.parameters("query"):
            answer = await client.request(call.method, f"{call.path()}?{parameter['name']}=a%00b")
            assert answer.status_code == 400, f"{call}: {answer.text}"
            tried += 1
    assert tried > 100


@pytest.mark.parametrize("text", ["\0", "a\0b"])
def test_no_column_takes_one(text: str) -> None:
    with pytest.raises(InvalidValue, match="NUL"):
        encode(text)
    # In JSON it is an escape.
    assert encode([text]) == '["' + text.replace("\0", "\\u0000") + '"]'
