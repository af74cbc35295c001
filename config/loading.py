"""The one place that reads the environment, `.env` and a command's flags."""

import difflib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from config.settings import PREFIX, Rule, Settings, SettingsError

CLIENT_VARIABLES = frozenset({f"{PREFIX}TOKEN", f"{PREFIX}URL"})
"""What a shell that calls the service may hold beside its settings; not ours, and no typo."""


def variable_names() -> tuple[str, ...]:
    """Every environment variable that is a setting, in the order of the fields."""
    return tuple(PREFIX + field.upper() for field in Settings.model_fields)


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process: environment, then `.env`, with `overrides` (a command's
    flags, by field name) above both. An override of None counts as not given.

    Raises `SettingsError` for a wrong value, for values that contradict one another, for an
    unknown `STRONGROOM_` variable (a typo must not pass for a default), for a `.env` that
    can't be read, and in production for one with master keys that others can reach; `TypeError`
    for an override that is no field.
    """
    unknown = overrides.keys() - Settings.model_fields.keys()
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        in_file = dotenv_values(".env", encoding="utf-8")
        problems = [*_unknown_variables([*os.environ, *in_file])]
        if problems:
            raise SettingsError("; ".join(problems))
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentences(error, given))) from None
    except (OSError, UnicodeDecodeError):
        raise SettingsError(".env: can't be read as UTF-8 text") from None
    if settings.is_production and _gives_keys(in_file) and _others_can_reach(Path(".env")):
        raise SettingsError(
            f".env: it has {PREFIX}MASTER_KEYS, and others than its owner can reach it: "
            "chmod 600 .env"
        )
    return settings


def _gives_keys(variables: Iterable[str]) -> bool:
    return f"{PREFIX}MASTER_KEYS" in (name.upper() for name in variables)


def _others_can_reach(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except FileNotFoundError:
        # It was there a moment ago, or the variables come from elsewhere.
        return False


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
