"""Starts an installation from its parts. Schema and keys are checked before anything is written.

The application's lifespan and the commands use this package; other code receives its parts.
"""

from backend.runtime.audit_heads import HeadsFile
from backend.runtime.backups import make_backup, restore_backup, verified
from backend.runtime.inspection import (
    Inspection,
    inspection,
    read_only_manager,
    rows_without_installation,
)
from backend.runtime.installation import (
    DATABASE_FILE,
    MASTER_KEY_FILE,
    TOKEN_FILE,
    Configuration,
    DataDirectory,
    StartRefused,
    connection_config,
    retention_limits,
)
from backend.runtime.keys import NoKeys, check_keys, find_keyring, load_keyring
from backend.runtime.new_installation import installing
from backend.runtime.schema import require_own_schema
from backend.runtime.start import Runtime, migrate_installation

__all__ = [
    "DATABASE_FILE",
    "MASTER_KEY_FILE",
    "TOKEN_FILE",
    "Configuration",
    "DataDirectory",
    "HeadsFile",
    "Inspection",
    "NoKeys",
    "Runtime",
    "StartRefused",
    "check_keys",
    "connection_config",
    "find_keyring",
    "inspection",
    "installing",
    "load_keyring",
    "make_backup",
    "migrate_installation",
    "read_only_manager",
    "require_own_schema",
    "restore_backup",
    "retention_limits",
    "rows_without_installation",
    "verified",
]
