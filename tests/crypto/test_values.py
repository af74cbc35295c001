"""Sealed values: the format, byte for byte; the value comes back, and a changed text is refused."""

import string

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from backend.crypto.envelope import Envelope, StoredProjectKey
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
    raw,
    ring,
    unwrapped,
    vault_with_key,
    wrapping_key,
    written,
)

DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
BOUNDARY = ":=+/ \n\r\t\0.\u00e9"

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)

PROJECT_KEY = bytes(range(64, 96))
WRAPPED = (
    "sr1:A256GCM:old:"
    "bm9uY2Utd3JhcHMumuuDihrU5RkyBKl0OdyMauFdZZEUWbV3QW83sc87I0nXJHpyJ_s4rRj5jwBR97Zq"
)
SEALED = "sr1:A256GCM:p11:bm9uY2UtdmFsdWUu1LSNHNSbqMROJmTIgarYg80xUWgwMuc1M9YVwP2QvbwBwQ"
CANARY = "sr1:A256GCM:old:bm9uY2UtY2FuYXJ5yhrXWWF_WODFXMJqkx6EYntsmEtVq5UwCVcAnb0UxN08"


def test_the_known_answers_follow_from_the_documented_format() -> None:
    nonce, key_nonce, canary_nonce = b"nonce-value.", b"nonce-wraps.", b"nonce-canary"
    wrapping = AESGCM(wrapping_key(OLD))
    key_fields = bound("sr1", "project-key", HOME, "7", "p11", "", "A256GCM", "old")
    wrapped = key_nonce + wrapping.encrypt(key_nonce, PROJECT_KEY, key_fields)
    assert written("old", wrapped) == WRAPPED
    fields = bound("sr1", "secret", HOME, "7", "API_TOKEN", "3", "A256GCM", "p11")
    sealed = nonce + AESGCM(PROJECT_KEY).encrypt(nonce, VALUE.encode(), fields)
    assert written("p11", sealed) == SEALED
    fields = bound("sr1", "canary", HOME, "", "", "", "A256GCM", "old")
    canary = canary_nonce + wrapping.encrypt(canary_nonce, b"strongroom canary", fields)
    assert written("old", canary) == CANARY


def test_the_known_answers_are_read() -> None:
    vault = Vault(ring(old=OLD), HOME)
    key = StoredProjectKey(11, 7, WRAPPED)
    assert vault.open(key, WHERE, SEALED).get_secret_value() == VALUE
    assert vault.check_canary("old", CANARY)


def test_what_is_written_follows_from_the_documented_format() -> None:
    vault, key = vault_with_key()
    project_key = unwrapped(key, OLD, "old")
    assert len(project_key) == 32
    data = raw(vault.seal(key, WHERE, SecretStr(VALUE)))
    fields = bound("sr1", "secret", HOME, "7", "API_TOKEN", "3", "A256GCM", "p11")
    assert AESGCM(project_key).decrypt(data[:12], data[12:], fields) == VALUE.encode()


@settings(deadline=None, database=None)
@given(value=values)
def test_every_text_comes_back(value: str) -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr(value))
    assert vault.open(key, WHERE, text).get_secret_value() == value
    assert Vault(ring(old=OLD), HOME).open(key, WHERE, text).get_secret_value() == value


@pytest.mark.parametrize(
    "value",
    ["x", "x" * MAX_VALUE_BYTES, "\u00e9" * (MAX_VALUE_BYTES // 2), "\U0001f511" * 16384, "\r\n\t"],
    ids=["one byte", "64 KiB", "64 KiB of two-byte", "64 KiB of four-byte", "white space"],
)
def test_the_longest_and_shortest_come_back(value: str) -> None:
    vault, key = vault_with_key()
    opened = vault.open(key, WHERE, vault.seal(key, WHERE, SecretStr(value)))
    assert opened.get_secret_value() == value


@pytest.mark.parametrize(
    "value",
    ["", "x" * (MAX_VALUE_BYTES + 1), "\u00e9" * (MAX_VALUE_BYTES // 2) + "x", "needle\ud800"],
    ids=["empty", "a byte too long", "a byte too long in UTF-8", "lone surrogate"],
)
def test_a_value_that_is_not_allowed_is_refused_and_not_repeated(value: str) -> None:
    vault, key = vault_with_key()
    with pytest.raises(ValueError, match="1 to 65536 bytes of UTF-8") as caught:
        vault.seal(key, WHERE, SecretStr(value))
    assert "needle" not in told_by(caught.value)
    assert caught.value.__context__ is None


def test_ten_thousand_seals_have_ten_thousand_nonces() -> None:
    vault, key = vault_with_key()
    texts = {vault.seal(key, WHERE, SecretStr("same")) for _ in range(10_000)}
    assert len({raw(text)[:12] for text in texts}) == 10_000
    assert len({raw(text)[12:] for text in texts}) == 10_000


def test_project_keys_differ_and_are_wrapped_with_fresh_nonces() -> None:
    vault = Vault(ring(old=OLD), HOME)
    rows = [vault.new_project_key(7, 11) for _ in range(1_000)]
    assert len({unwrapped(row, OLD, "old") for row in rows}) == 1_000
    assert len({raw(row.wrapped)[:12] for row in rows}) == 1_000


def test_the_stored_text_holds_no_trace_of_the_value() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr("a-value-that-is-easy-to-find"))
    assert b"easy-to-find" not in raw(text)
    assert text.startswith("sr1:A256GCM:p11:")
    assert key.wrapped.startswith("sr1:A256GCM:old:")


def changed(text: str) -> list[str]:
    """Every text that differs in one character, with the alphabet's characters and similar ones."""
    return [
        text[:at] + other + text[at + 1 :]
        for at in range(len(text))
        for other in DIGITS + BOUNDARY
        if other != text[at]
    ]


def test_every_character_of_a_value_matters() -> None:
    vault, key = vault_with_key()
    for text in changed(vault.seal(key, WHERE, SecretStr("a value"))):
        assert_unreadable(vault, key, WHERE, text)


def test_every_character_of_a_project_key_matters() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr("a value"))
    for wrapped in changed(key.wrapped):
        assert_unreadable(vault, key._replace(wrapped=wrapped), WHERE, text)
    with pytest.raises(SecretUnreadable):
        vault.seal(key._replace(wrapped="nonsense"), WHERE, SecretStr("a value"))


def test_every_character_of_a_canary_matters() -> None:
    vault, _ = vault_with_key()
    assert not any(vault.check_canary("old", text) for text in changed(vault.canary("old")))


@settings(deadline=None, database=None)
@given(value=values, data=st.data())
def test_every_bit_matters(value: str, data: st.DataObject) -> None:
    vault, key = vault_with_key()
    sealed = bytearray(raw(vault.seal(key, WHERE, SecretStr(value))))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert_unreadable(vault, key, WHERE, written("p11", bytes(sealed)))


def test_a_shorter_or_longer_text_is_unreadable() -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr("a value"))
    shorter = [text[:end] for end in range(len(text))] + [text[at:] for at in range(1, len(text))]
    longer = [text + more for more in [*DIGITS, *BOUNDARY, "==", "AAAA", text]]
    longer += [more + text for more in [*DIGITS, *BOUNDARY, "\ufeff"]]
    data = raw(text)
    resized = [written("p11", data[:size]) for size in range(len(data))]
    resized += [written("p11", data + bytes(more)) for more in (1, 2, 3, 16)]
    for wrong in (*shorter, *longer, *resized):
        assert_unreadable(vault, key, WHERE, wrong)


@pytest.mark.parametrize(("length", "spellings"), [(1, 4), (2, 1), (3, 16)])
def test_only_one_spelling_of_the_same_bytes_is_read(length: int, spellings: int) -> None:
    vault, key = vault_with_key()
    text = vault.seal(key, WHERE, SecretStr("x" * length))
    last = DIGITS.index(text[-1])
    others = [text[:-1] + DIGITS[last ^ spare] for spare in range(1, spellings)]
    assert all(raw(other) == raw(text) for other in others)
    others += [text + "=", text + "==", f"{text[:-4]}\n{text[-4:]}"]
    for other in others:
        assert_unreadable(vault, key, WHERE, other)


@pytest.mark.parametrize(
    "text",
    ["", "x", ":::", "sr1:A256GCM:p11:", "sr2:A256GCM:p11:AAAA", "sr1:A128GCM:p11:AAAA", "\ud800"],
)
def test_text_in_another_format_is_unreadable(text: str) -> None:
    vault, key = vault_with_key()
    assert Envelope.parse(text) is None
    assert_unreadable(vault, key, WHERE, text)
    assert StoredProjectKey(1, 1, text).master_key_id is None


@settings(deadline=None, database=None)
@given(
    key_id=st.text(DIGITS, min_size=1, max_size=32),
    nonce=st.binary(min_size=12, max_size=12),
    sealed=st.binary(min_size=16, max_size=200),
)
def test_an_envelope_is_read_as_it_was_written(key_id: str, nonce: bytes, sealed: bytes) -> None:
    envelope = Envelope(key_id, nonce, sealed)
    assert Envelope.parse(envelope.encode()) == envelope


@settings(deadline=None, database=None)
@given(st.text(DIGITS + BOUNDARY, max_size=80))
def test_what_is_read_is_written_the_same(tail: str) -> None:
    text = f"sr1:A256GCM:{tail}"
    envelope = Envelope.parse(text)
    assert envelope is None or envelope.encode() == text
