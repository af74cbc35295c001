"""Which method makes which call of the service."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def operation(*names: str) -> Callable[[F], F]:
    """Mark a method with the `operationId`s in openapi.json that it stands for."""

    def mark(method: F) -> F:
        vars(method)["operations"] = names
        return method

    return mark
