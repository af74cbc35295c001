"""The one place that reads the environment, `.env` and a command's flags."""

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
"""What a shell that calls the service may hold beside its settings; not ours, and no typo."""


def variable_names() -> tuple[str, ...]:
    """Every environment variable that is a setting, in the order of the fields."""
    return tuple(PREFIX + field.upper() for field in Settings.model_fields)


def load_settings(*, dotenv: bool = False, **overrides: Any) -> Settings:
    """The settings of this process: the environment, with `overrides` (a command's flags, by field
    name) above it and, with `dotenv`, the working directory's `.env` below. An override of None
    counts as not given.

    Raises `SettingsError` for a wrong value, for values that contradict one another, for an
    unknown `STRONGROOM_` variable (a typo must not pass for a default), for what `read_dotenv`
    refuses, and in production for a `.env` with master keys that others can reach; `TypeError`
    for an override that is no field.
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
    """By field, what of the file's variables the environment does not set, and paths that are set
    to nothing: an empty variable counts as not set, but an empty path is a mistake."""
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
    for name in sorted({name.upper() for name in names}):
        if name.startswith(PREFIX) and name not in known and name not in CLIENT_VARIABLES:
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
