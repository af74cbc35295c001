"""The base class of request bodies."""

from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class RequestModel(BaseModel):
    """Base of request bodies: strict, without unknown fields.

    `answer_only` names fields that answers have and clients can't set. They are removed before
    validation, so that a client can send back what it has read. A field that the shape itself
    declares stays.
    """

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    answer_only: ClassVar[frozenset[str]] = frozenset(
        {"id", "project_id", "created_at", "updated_at", "version"}
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.answer_only = cls.answer_only.difference(cls.model_fields)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The shape with the members that are ignored, so that what was read fits it."""
        schema = handler(core_schema)
        members = handler.resolve_ref_schema(schema).setdefault("properties", {})
        for name in sorted(cls.answer_only):
            members[name] = {"readOnly": True, "description": "Ignored: only answers have it."}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, data: Any) -> Any:
        # The only one before the fields, because each costs as much as validating a field.
        if not isinstance(data, dict):
            return data
        data = cls.prepared(data)
        if cls.answer_only.isdisjoint(data):
            return data
        return {name: value for name, value in data.items() if name not in cls.answer_only}

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields as the shape declares them. Raises `ValidationError`. For subclasses."""
        return data

    def given_fields(self) -> dict[str, Any]:
        """The fields that the request contained, including those set to null."""
        return {name: getattr(self, name) for name in self.model_fields_set}
