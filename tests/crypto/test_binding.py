"""What a sealed value is bound to: its place, its keys, its installation."""

import pytest
from pydantic import SecretStr

from backend.crypto.envelope import SecretContext
from backend.crypto.keyring import KeyConfigurationError
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from tests.crypto.sealing import (
    HOME,
    NEW,
    OLD,
    VALUE,
    WHERE,
    assert_unreadable,
    ring,
    unwrapped,
    vault_with_key,
)


@pytest.mark.parametrize(
    "elsewhere",
    [
        WHERE._replace(name="API_TOKEN2"),
        WHERE._replace(name="api_token"),
        WHERE._replace(version=4),
        WHERE._replace(version=33),
        WHERE._replace(purpose="webhook"),
        WHERE._replace(project_id=8),
    ],
    ids=repr,
)
def test_a_value_opens_only_where_it_was_sealed(elsewhere: SecretContext) -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    assert_unreadable(vault, key, elsewhere, text)
    assert vault.is_readable(key, WHERE, text)
    assert not vault.is_readable(key, elsewhere, text)


def test_fields_can_not_run_into_one_another() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE._replace(name="A", version=11), SecretStr(VALUE))
    assert_unreadable(vault, key, WHERE._replace(name="A1", version=1), text)
    with_mark = vault.seal(key, WHERE._replace(name="A\0\0\0\x0211", version=1), SecretStr(VALUE))
    assert_unreadable(vault, key, WHERE._replace(name="A", version=11), with_mark)


def test_two_rows_of_a_project_can_not_be_swapped() -> None:
    vault, key = vault_with_key()
    other = WHERE._replace(name="OTHER")
    here = vault.seal(key, WHERE, SecretStr("here"))
    there = vault.seal(key, other, SecretStr("there"))
    assert_unreadable(vault, key, WHERE, there)
    assert_unreadable(vault, key, other, here)


def test_a_row_moved_to_another_project_is_unreadable_with_either_key() -> None:
    vault, key = vault_with_key()
    theirs = vault.new_project_key(8, 12)
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    there = WHERE._replace(project_id=8)
    assert_unreadable(vault, theirs, there, text)
    assert_unreadable(vault, theirs, there, text.replace(":p11:", ":p12:"))
    assert_unreadable(vault, key, there, text)
    assert_unreadable(vault, key._replace(project_id=8), there, text)
    assert_unreadable(vault, key._replace(project_id=8, id=12), there, text)


def test_two_keys_of_a_project_can_not_be_swapped() -> None:
    vault, first = vault_with_key()
    second = vault.new_project_key(7, 12)
    text = vault.seal(first, WHERE, SecretStr(VALUE))
    assert_unreadable(vault, second, WHERE, text)
    assert_unreadable(vault, second._replace(wrapped=first.wrapped), WHERE, text)
    assert_unreadable(vault, first._replace(wrapped=second.wrapped), WHERE, text)
    renamed = text.replace(":p11:", ":p12:")
    assert_unreadable(vault, second._replace(wrapped=first.wrapped), WHERE, renamed)
    assert_unreadable(vault, second, WHERE, renamed)


def test_another_installation_with_the_same_keys_reads_nothing() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    foreign = Vault(ring(old=OLD), "another")
    assert_unreadable(foreign, key, WHERE, text)
    assert not foreign.check_canary("old", vault.canary("old"))
    adopted = foreign.new_project_key(7, 11)
    assert_unreadable(foreign, adopted, WHERE, text)


def test_one_kind_of_record_is_not_taken_for_another() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    canary = vault.canary("old")
    assert not vault.check_canary("old", key.wrapped)
    assert_unreadable(vault, key._replace(wrapped=canary), WHERE, text)
    assert_unreadable(vault, key, WHERE, key.wrapped)


def test_the_key_of_another_project_is_not_used_to_seal() -> None:
    vault, key = vault_with_key(project_id=8)
    with pytest.raises(ValueError, match="another project"):
        vault.seal(key, WHERE, SecretStr(VALUE))


def test_without_its_master_key_nothing_is_readable() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    without = Vault(ring(new=NEW), HOME)
    assert_unreadable(without, key, WHERE, text)
    with pytest.raises(SecretUnreadable):
        without.rewrap(key)
    with pytest.raises(SecretUnreadable):
        without.seal(key, WHERE, SecretStr(VALUE))


def test_another_key_under_the_same_id_reads_nothing() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    assert_unreadable(Vault(ring(old=NEW), HOME), key, WHERE, text)


def test_the_key_is_chosen_by_its_id_and_never_tried() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    renamed = Vault(ring(new=NEW, other=OLD), HOME)
    assert_unreadable(renamed, key, WHERE, text)
    pointed = key._replace(wrapped=key.wrapped.replace(":old:", ":other:"))
    assert_unreadable(renamed, pointed, WHERE, text)


def test_rewrapping_keeps_values_and_needs_the_old_key_no_more() -> None:
    vault, key = vault_with_key()
    texts = [vault.seal(key, WHERE._replace(version=n), SecretStr(f"v{n}")) for n in range(5)]
    both = Vault(ring(new=NEW, old=OLD), HOME)
    assert both.open(key, WHERE._replace(version=1), texts[1]).get_secret_value() == "v1"
    wrapped = both.rewrap(key)
    assert wrapped is not None
    moved = key._replace(wrapped=wrapped)
    assert (vault.current_master_key_id, both.current_master_key_id) == ("old", "new")
    assert (key.master_key_id, moved.master_key_id) == ("old", "new")
    assert unwrapped(moved, NEW, "new") == unwrapped(key, OLD, "old")
    only_new = Vault(ring(new=NEW), HOME)
    for reader in (both, only_new):
        assert reader.rewrap(moved) is None
        for n, text in enumerate(texts):
            opened = reader.open(moved, WHERE._replace(version=n), text)
            assert opened.get_secret_value() == f"v{n}"
    assert_unreadable(only_new, key, WHERE, texts[3])


def test_a_changed_project_key_is_not_rewrapped() -> None:
    vault, key = vault_with_key()
    both = Vault(ring(new=NEW, old=OLD), HOME)
    for wrong in (key._replace(id=12), key._replace(project_id=8), key._replace(wrapped="x")):
        with pytest.raises(SecretUnreadable):
            both.rewrap(wrong)
    assert vault.rewrap(key) is None


def test_a_canary_tells_its_key_from_every_other() -> None:
    vault = Vault(ring(new=NEW, old=OLD), HOME)
    canary = vault.canary("old")
    assert vault.check_canary("old", canary)
    assert not vault.check_canary("new", canary)
    assert not vault.check_canary("new", canary.replace(":old:", ":new:"))
    assert not Vault(ring(old=NEW), HOME).check_canary("old", canary)
    assert not Vault(ring(new=NEW), HOME).check_canary("old", canary)
    assert not vault.check_canary("old", "")
    with pytest.raises(KeyConfigurationError, match="'gone' is not configured"):
        vault.canary("gone")


def test_an_installation_needs_an_id() -> None:
    with pytest.raises(ValueError, match="installation id is empty"):
        Vault(ring(old=OLD), "")


def test_the_installation_key_outlives_the_master_key_that_is_current() -> None:
    vault = Vault(ring(old=OLD), HOME)
    wrapped = vault.new_installation_key()
    assert wrapped.startswith("sr1:A256GCM:old:")
    key = vault.installation_key(wrapped)
    later = Vault(ring(new=NEW, old=OLD), HOME).installation_key(wrapped)
    assert key.derive("tokens") == later.derive("tokens")
    assert key.derive("tokens") != key.derive("audit")
    another = vault.installation_key(vault.new_installation_key())
    assert key.derive("tokens") != another.derive("tokens")


def test_the_installation_key_opens_only_in_its_installation_as_what_it_is() -> None:
    vault, project_key = vault_with_key()
    wrapped = vault.new_installation_key()
    attempts = [
        (Vault(ring(old=OLD), "another"), wrapped),
        (Vault(ring(old=NEW), HOME), wrapped),
        (Vault(ring(new=NEW), HOME), wrapped),
        (vault, project_key.wrapped),
        (vault, vault.canary("old")),
        (vault, wrapped[:-1]),
        (vault, ""),
    ]
    for reader, text in attempts:
        with pytest.raises(SecretUnreadable) as caught:
            reader.installation_key(text)
        assert caught.value.__context__ is None
    text = vault.seal(project_key, WHERE, SecretStr(VALUE))
    assert_unreadable(vault, project_key._replace(wrapped=wrapped), WHERE, text)
