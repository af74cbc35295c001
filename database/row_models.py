"""Models of rows, also of those that no model accepts because another program has written to the
file: such a row must not prevent a list of all others, and must be seen to be deleted."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from database.engine import Row

T = TypeVar("T", bound=BaseModel)


def model_of(model: type[T], row: Row | Mapping[str, Any]) -> T:
    """The model of a row. A row that it does not accept is shown as it is, but JSON that can't be
    read is an empty object or list, any number except 0 is true, and an unknown name is a member of
    its enumeration that only this model has."""
    columns = row if type(row) is dict else dict(row)
    try:
        return model.model_validate(columns)
    except ValidationError:
        fields = model.model_fields.items()
        if any(field.is_required() and name not in columns for name, field in fields):
            # The statement is wrong, not the row.
            raise
        return _damaged(model, columns)


def _damaged(model: type[T], row: Mapping[str, Any]) -> T:
    made = model.model_construct()
    for name, field in model.model_fields.items():
        if name not in row:
            continue
        try:
            model.__pydantic_validator__.validate_assignment(made, name, row[name])
        except ValidationError:
            # Not by assignment, which a frozen model refuses.
            made.__dict__[name] = _shown(field, row[name])
    return made


def _shown(field: FieldInfo, value: Any) -> Any:
    for kind in _types(field.annotation):
        if kind in (dict, list):
            return kind()
        if kind is bool:
            return bool(value)
        if issubclass(kind, str) and issubclass(kind, Enum) and isinstance(value, str):
            return _unknown_member(kind, value)
    return value


def _unknown_member(kind: type[Enum], name: str) -> Enum:
    # As the standard library makes members for combinations of flags.
    member = str.__new__(kind, name)  # type: ignore[type-var]
    member._name_ = member._value_ = name
    return member


def _types(annotation: Any) -> Iterator[type]:
    """The classes in the annotation, including those inside unions and `Annotated`, but not those
    of members."""
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type):
        yield origin
    if origin not in (dict, list):
        for part in get_args(annotation):
            yield from _types(part)
