"""Finds the master keys, and checks that they are the keys that the database knows."""

from backend.crypto.keyring import (
    KeyConfigurationError,
    Keyring,
    MasterKey,
    generate_master_key,
)
from backend.crypto.master_keys import MasterKeysError, read_master_keys
from backend.crypto.vault import Vault
from backend.repositories.keys_repository import read_key_records
from backend.runtime.installation import (
    Configuration,
    DataDirectory,
    StartRefused,
    make_private,
)
from database.connection_manager import DatabaseManager


class NoKeys:
    """A key provider without keys, with which nothing can be encrypted or decrypted."""

    def current(self) -> MasterKey:
        """Raises `KeyConfigurationError`."""
        raise KeyConfigurationError("no master key is configured")

    def by_id(self, key_id: str) -> MasterKey | None:  # noqa: ARG002 - the provider's signature
        """Returns `None`."""
        return None

    def ids(self) -> tuple[str, ...]:
        """Returns an empty tuple."""
        return ()


def find_keyring(settings: Configuration) -> Keyring | None:
    """The configured master keys, else the one generated for development, else `None`.

    Raises `StartRefused` when the keys can't be read or used, and the errors of `require_kinds`.
    """
    directory = DataDirectory(settings.data_dir)
    directory.require_kinds()
    text, file, command = (
        settings.master_keys,
        settings.master_keys_file,
        settings.master_keys_command,
    )
    own_file = text is None and file is None and command is None
    if own_file:
        if settings.is_production or not directory.master_key.exists():
            return None
        file = directory.master_key
    try:
        text = read_master_keys(text=text, file=file, command=command)
        return None if text is None else Keyring.parse(text.get_secret_value())
    except (MasterKeysError, KeyConfigurationError) as error:
        message = str(error)
        if own_file:
            message = message.replace("STRONGROOM_MASTER_KEYS_FILE", str(directory.master_key))
        raise StartRefused(message) from None


def load_keyring(settings: Configuration, manager: DatabaseManager) -> Keyring:
    """The configured master keys; in development, a new database gets a key that is made now.

    Raises `StartRefused`.
    """
    _remove_half_a_key(DataDirectory(settings.data_dir), manager)
    keyring = find_keyring(settings)
    if keyring is not None:
        return keyring
    if settings.is_production:
        raise StartRefused(
            "production needs a master key: set STRONGROOM_MASTER_KEYS_FILE, "
            "STRONGROOM_MASTER_KEYS_COMMAND or STRONGROOM_MASTER_KEYS "
            "(strongroom keys generate prints a new key)"
        )
    directory = DataDirectory(settings.data_dir)
    if manager.config.path.exists() and read_key_records(manager) is not None:
        raise StartRefused(
            f"{directory.master_key} is missing, but {directory.database.name} was created with "
            "a master key: put the file back, or set STRONGROOM_MASTER_KEYS"
        )
    text = generate_master_key()
    if not directory.database.exists():
        directory.make_database()
    make_private(directory.master_key, text + "\n")
    return Keyring.parse(text)


def _remove_half_a_key(directory: DataDirectory, manager: DatabaseManager) -> None:
    """Remove an empty master key file that an interrupted first start has left."""
    key, database = directory.master_key, directory.database
    is_empty = key.exists() and key.stat().st_size == 0
    if is_empty and database.exists() and read_key_records(manager) is None:
        key.unlink()


def check_keys(manager: DatabaseManager, keyring: Keyring) -> None:
    """Compare the configured keys with the database's canaries, before anything is changed.

    Raises `StartRefused` when a key is not the one that the database knows under its id, or when a
    key that is still in use is missing. The message names only key ids.
    """
    if not manager.config.path.exists():
        return
    records = read_key_records(manager)
    if records is None:
        return
    vault = Vault(keyring, records.installation_id)
    for key_id in keyring.ids():
        canary = records.canaries.get(key_id)
        if canary is not None and not vault.check_canary(key_id, canary):
            raise StartRefused(
                f"master key {key_id} is not the key that this database knows as {key_id}: "
                "configure the right key under this id, or the new key under another id"
            )
    missing = sorted(records.in_use.difference(keyring.ids()))
    if missing:
        raise StartRefused(
            f"master key {', '.join(missing)} is still in use but missing: add it to the "
            "configured master keys"
        )
