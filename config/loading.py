"""Reads the environment, `.env` and a command's flags. No other module does."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from config.dotenv_file import NAME as DOTENV
from config.dotenv_file import NO_FILE, read_dotenv
from config.settings import PREFIX, Rule, Settings, SettingsError

CLIENT_VARIABLES = frozenset({f"{PREFIX}TOKEN", f"{PREFIX}URL"})
"""Variables of clients, which a shell may have set. They are not settings, and not typos."""

RETIRED_VARIABLES = frozenset({f"{PREFIX}AUDIT_HEADS_SECONDS"})
"""Settings of earlier versions, which have no effect any more. They don't stop a start."""


def variable_names() -> tuple[str, ...]:
    """The environment variables of all settings, in the order of the fields."""
    return tuple(PREFIX + field.upper() for field in Settings.model_fields)


def retired_variables(*, dotenv: bool = False) -> list[str]:
    """The retired variables that this process has, also from `.env` with `dotenv`. Raises
    `SettingsError` as `read_dotenv` does."""
    file = read_dotenv() if dotenv else NO_FILE
    names = {name.upper() for name in (*os.environ, *file.variables)}
    return sorted(names & RETIRED_VARIABLES)


def load_settings(*, dotenv: bool = False, **overrides: Any) -> Settings:
    """The settings of this process. `overrides` (a command's flags, by field name) take precedence
    over the environment. With `dotenv`, the working directory's `.env` has the lowest precedence.
    An override of None counts as not given.

    Raises `SettingsError` for wrong or contradicting values, for an unknown `STRONGROOM_` variable
    (a typo must not leave a default in place), and as `read_dotenv` does. In production it also
    refuses a `.env` with master keys that others can access. Raises `TypeError` for an override
    that is not a field.
    """
    unknown = overrides.keys() - Settings.model_fields.keys()
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    given = {name: value for name, value in overrides.items() if value is not None}
    file = read_dotenv() if dotenv else NO_FILE
    problems = [*_unknown_variables([*os.environ, *file.variables])]
    if problems:
        raise SettingsError("; ".join(problems))
    try:
        settings = Settings(**{**_beside_the_environment(file.variables), **given})
    except ValidationError as error:
        raise SettingsError("; ".join(_sentences(error, given))) from None
    if settings.is_production and f"{PREFIX}MASTER_KEYS" in file.variables and not file.is_private:
        raise SettingsError(
            f"{DOTENV}: it has {PREFIX}MASTER_KEYS, and other users can access it: chmod 600 "
            f"{DOTENV}"
        )
    return settings


def _beside_the_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The file's values by field, without those that the environment sets. Includes empty paths:
    other empty variables count as not set, but an empty path is a mistake."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    found: dict[str, str] = {}
    for name, field in zip(variable_names(), Settings.model_fields, strict=True):
        if environment.get(name):
            continue
        if "" in (environment.get(name), variables.get(name)) and _is_path(field):
            found[field] = ""
        elif variables.get(name):
            found[field] = variables[name]
    return found


def _is_path(field: str) -> bool:
    annotation = Settings.model_fields[field].annotation
    return Path in (annotation, *get_args(annotation))


def _unknown_variables(names: Iterable[str]) -> Iterable[str]:
    known = variable_names()
    others = CLIENT_VARIABLES | RETIRED_VARIABLES
    for name in sorted({name.upper() for name in names}):
        if name.startswith(PREFIX) and name not in known and name not in others:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: no such setting" + (f", did you mean {near[0]}?" if near else "")


def _sentences(error: ValidationError, overrides: Mapping[str, object]) -> Iterable[str]:
    seen = set()
    for item in error.errors(include_url=False, include_input=False):
        if not item["loc"]:
            yield str(item["ctx"]["error"])
            continue
        field = str(item["loc"][0])
        if field in seen:
            continue
        seen.add(field)
        flag = field in overrides
        name = f"--{field.replace('_', '-')}" if flag else PREFIX + field.upper()
        rules = [rule for rule in Settings.model_fields[field].metadata if isinstance(rule, Rule)]
        yield f"{name}: {rules[0].must}"
