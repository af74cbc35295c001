"""The configuration of the service."""

from config.loading import load_settings
from config.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "load_settings"]
