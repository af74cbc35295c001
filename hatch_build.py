"""What a wheel has besides the folders that `pyproject.toml` names."""

from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ModelsHook(BuildHookInterface[BuilderConfig]):
    """Puts `models.py` beside the server's packages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the build. An editable install would get a copy of the file, which would
        soon be stale."""
        if version == "standard":
            build_data["force_include"]["models.py"] = "strongroom/_server/models.py"
