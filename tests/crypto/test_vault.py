"""A vault in use: its cache, its threads, and that it shows no secret."""

import base64
import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from backend.crypto.envelope import Envelope, SecretContext, StoredProjectKey
from backend.crypto.keyring import Keyring, MasterKey
from backend.crypto.project_cipher import MAX_VALUE_BYTES
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from tests.crypto.leaks import told_by
from tests.crypto.sealing import (
    HOME,
    OLD,
    VALUE,
    WHERE,
    assert_unreadable,
    bound,
    ring,
    unwrapped,
    vault_with_key,
    wrapping_key,
    written,
)


class Withdrawable:
    """A key provider that counts its calls, and whose keys can be withdrawn."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring: Keyring = keyring
        self.withdrawn = False
        self.asked = 0

    def current(self) -> MasterKey:
        return self.keyring.current()

    def by_id(self, key_id: str) -> MasterKey | None:
        self.asked += 1
        return None if self.withdrawn else self.keyring.by_id(key_id)

    def ids(self) -> tuple[str, ...]:
        return self.keyring.ids()


def test_a_project_key_is_unwrapped_once_until_it_is_forgotten() -> None:
    provider = Withdrawable(ring(old=OLD))
    vault = Vault(provider, HOME)
    key = vault.new_project_key(7, 11)
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    assert provider.asked == 0
    vault.forget()
    for _ in range(10):
        vault.open(key, WHERE, text)
    assert provider.asked == 1
    provider.withdrawn = True
    vault.forget()
    assert_unreadable(vault, key, WHERE, text)
    provider.withdrawn = False
    assert vault.open(key, WHERE, text).get_secret_value() == VALUE


def test_the_cache_is_bounded_and_drops_the_oldest() -> None:
    provider = Withdrawable(ring(old=OLD))
    vault = Vault(provider, HOME, cached_keys=2)
    keys = [vault.new_project_key(n, n) for n in (1, 2, 3)]
    contexts = [WHERE._replace(project_id=n) for n in (1, 2, 3)]
    for key, context in zip(keys, contexts, strict=True):
        vault.seal(key, context, SecretStr(VALUE))
    provider.withdrawn = True
    for key, context in zip(keys[1:], contexts[1:], strict=True):
        vault.seal(key, context, SecretStr(VALUE))
    with pytest.raises(SecretUnreadable):
        vault.seal(keys[0], contexts[0], SecretStr(VALUE))


def test_a_cached_key_serves_only_the_row_it_came_from() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    vault.open(key, WHERE, text)
    spoiled = key.wrapped[:-8] + ("A" if key.wrapped[-8] != "A" else "B") + key.wrapped[-7:]
    assert_unreadable(vault, key._replace(wrapped=spoiled), WHERE, text)


def test_many_threads_share_a_vault() -> None:
    vault = Vault(ring(old=OLD), HOME, cached_keys=3)
    keys = [vault.new_project_key(n, n) for n in range(1, 7)]
    start = threading.Barrier(8)

    def work(worker: int) -> int:
        start.wait(timeout=30)
        right = 0
        for turn in range(300):
            key = keys[(worker + turn) % len(keys)]
            context = SecretContext(key.project_id, f"K{worker}", turn)
            value = f"{worker}-{turn}" * (turn + 1)
            opened = vault.open(key, context, vault.seal(key, context, SecretStr(value)))
            right += opened.get_secret_value() == value
            if turn % 50 == worker:
                vault.forget()
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [300] * 8


def test_a_project_cipher_tells_whether_it_holds_a_value() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    cipher = vault.project(key)
    assert cipher.holds(WHERE.name, WHERE.version, text, SecretStr(VALUE))
    for other in (VALUE[:-1], VALUE + "x", VALUE.upper(), "x"):
        assert not cipher.holds(WHERE.name, WHERE.version, text, SecretStr(other))
    another = vault.new_project_key(7, 12)
    spoiled = text[:-1] + ("A" if text[-1] != "A" else "B")
    unreadable = [
        (cipher, WHERE.version, spoiled),
        (cipher, WHERE.version, "nonsense"),
        (cipher, WHERE.version + 1, text),
        (vault.project(another), WHERE.version, text),
    ]
    for other_cipher, version, stored in unreadable:
        assert not other_cipher.holds(WHERE.name, version, stored, SecretStr(VALUE))
    with pytest.raises(SecretUnreadable):
        vault.project(key._replace(wrapped="nonsense"))


def test_many_values_are_sealed_and_compared_as_each_would_be_alone() -> None:
    vault, key = vault_with_key()
    cipher = vault.project(key)
    given = [(f"K{number}", number + 1, SecretStr(f"{VALUE} {number}")) for number in range(5)]
    texts = cipher.seal_all(given)
    assert len(set(texts)) == len({text[:32] for text in texts}) == 5
    for (name, version, value), text in zip(given, texts, strict=True):
        assert cipher.open(name, version, text) == value
    stored = [(*one[:2], text, one[2]) for one, text in zip(given, texts, strict=True)]
    assert cipher.holding(stored) == [True] * 5
    stored[1] = (*stored[1][:2], stored[2][2], stored[1][3])
    stored[3] = (*stored[3][:3], SecretStr("another"))
    stored[4] = (*stored[4][:3], SecretStr("\ud800"))
    assert cipher.holding(stored) == [True, False, True, False, False]
    assert cipher.seal_all([]) == []
    assert cipher.holding([]) == []
    for wrong in ("", "\ud800", "x" * (MAX_VALUE_BYTES + 1)):
        with pytest.raises(ValueError, match="65536 bytes") as caught:
            cipher.seal_all([*given, ("K", 1, SecretStr(wrong))])
        assert caught.value.__context__ is None


def shown_ways(thing: object) -> str:
    return "\n".join([f"{thing}", f"{thing!r}", str([thing]), "%s" % (thing,)])  # noqa: UP031


def test_no_display_shows_a_key_or_a_value() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    project_key = unwrapped(key, OLD, "old")
    opened = vault.open(key, WHERE, text)
    envelope = Envelope.parse(text)
    things = (vault, key, WHERE, envelope, opened, vars(vault))
    told = "\n".join(shown_ways(thing) for thing in things)
    assert "Vault(installation_id='8b1a9953c4611296', keys=('old',))" in told
    for hidden in (OLD, wrapping_key(OLD), project_key, VALUE.encode()):
        assert repr(hidden)[2:-1] not in told
        assert base64.b64encode(hidden).decode()[:20] not in told
    for hidden_text in (VALUE, key.wrapped, text):
        assert hidden_text not in told


def test_a_vault_is_neither_pickled_nor_copied() -> None:
    vault, key = vault_with_key()
    vault.seal(key, WHERE, SecretStr(VALUE))
    ways: list[Callable[[Vault], object]] = [pickle.dumps, copy.copy, copy.deepcopy]
    for way in ways:
        with pytest.raises(TypeError, match="a vault can't be copied or pickled"):
            way(vault)


def test_a_failure_tells_no_key_and_no_value() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(VALUE))
    project_key = unwrapped(key, OLD, "old")
    not_text = b"\xff needle that is no UTF-8"
    fields = bound("sr1", "secret", HOME, "7", "API_TOKEN", "3", "A256GCM", "p11")
    nonce = bytes(12)
    sealed = written("p11", nonce + AESGCM(project_key).encrypt(nonce, not_text, fields))
    attempts: list[tuple[StoredProjectKey, SecretContext, str]] = [
        (key, WHERE, sealed),
        (key, WHERE, text[:-1]),
        (key, WHERE._replace(version=4), text),
        (key._replace(wrapped=key.wrapped[:-4]), WHERE, text),
        (key._replace(id=12), WHERE, text.replace(":p11:", ":p12:")),
    ]
    for attempt in attempts:
        with pytest.raises(SecretUnreadable) as caught:
            vault.open(*attempt)
        told = told_by(caught.value)
        for hidden in (OLD, wrapping_key(OLD), project_key, VALUE.encode(), not_text):
            assert repr(hidden)[2:-1] not in told
        assert VALUE not in told
        assert "needle" not in told
