"""The base class of request bodies."""

from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    model_validator,
)


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
