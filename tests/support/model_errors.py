"""The errors of a validation, after a check that they repeat nothing of the input."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError


def errors_of(model: type[BaseModel], data: Any) -> list[tuple[str, str]]:
    """The place and code of each error, after a check that no text of it contains the input."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    error = caught.value
    details = error.errors(include_input=False, include_url=False)
    shown = str(error) + json.dumps([[d["type"], d["msg"], str(d.get("ctx"))] for d in details])
    for value in strings_of(data):
        if len(value) > 5:
            assert value not in shown
    return [("/".join(map(str, detail["loc"])), detail["type"]) for detail in details]


def strings_of(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for value in data.values() for text in strings_of(value)]
    if isinstance(data, list):
        return [text for value in data for text in strings_of(value)]
    return []
