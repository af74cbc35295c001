"""Master keys: which texts are read, which are refused, and that nothing shows a key."""

import base64
import contextlib
import copy
import hashlib
import hmac
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.crypto.keyring import (
    KeyConfigurationError,
    Keyring,
    MasterKey,
    configured_key,
    generate_master_key,
)
from tests.crypto.leaks import told_by

MATERIAL = bytes(range(200, 232))
OTHER = bytes(range(100, 132))
STANDARD = base64.b64encode(MATERIAL).decode()
URL_SAFE = base64.urlsafe_b64encode(MATERIAL).decode()
OTHER_TEXT = base64.b64encode(OTHER).decode()


def hkdf(material: bytes, label: str) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block, by hand."""
    extracted = hmac.digest(bytes(32), material, hashlib.sha256)
    return hmac.digest(extracted, b"strongroom/" + label.encode() + b"\x01", hashlib.sha256)


@pytest.mark.parametrize(
    "text",
    [
        f"k1:{STANDARD}",
        f"k1:{STANDARD.rstrip('=')}",
        f"k1:{URL_SAFE}",
        f"k1:{URL_SAFE.rstrip('=')}",
        f"\n  k1:{STANDARD}\t\r\n",
    ],
)
def test_a_key_is_read_in_every_usual_spelling(text: str) -> None:
    keyring = Keyring.parse(text)
    assert keyring.ids() == ("k1",)
    assert keyring.derive("tokens") == hkdf(MATERIAL, "tokens")


def test_the_two_alphabets_differ_in_the_sample() -> None:
    assert set(STANDARD) & set("+/")
    assert set(URL_SAFE) & set("-_")


def test_the_first_key_is_current_and_all_are_found() -> None:
    keyring = Keyring.parse(f"new:{OTHER_TEXT},\n old-1_A:{STANDARD}\n")
    assert keyring.ids() == ("new", "old-1_A")
    assert keyring.current().id == "new"
    found = keyring.by_id("old-1_A")
    assert found is not None
    assert found.derive("x") == hkdf(MATERIAL, "x")
    assert keyring.by_id("none") is None


def test_each_label_and_each_key_derives_another_key() -> None:
    keyring = Keyring.parse(f"new:{OTHER_TEXT},old:{STANDARD}")
    assert keyring.derive("tokens") == hkdf(OTHER, "tokens")
    assert configured_key(keyring, "old").derive("tokens") == hkdf(MATERIAL, "tokens")
    assert configured_key(keyring, "old").derive("audit") == hkdf(MATERIAL, "audit")
    assert len({keyring.derive(label) for label in ("tokens", "audit", "a/b", "a.b")}) == 4


@pytest.mark.parametrize("label", ["", "Upper", "a b", "ä", "-a", "x" * 65])
def test_a_malformed_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="a label must match"):
        Keyring.parse(f"k1:{STANDARD}").derive(label)


def test_a_key_that_is_not_configured_is_named() -> None:
    keyring = Keyring.parse(f"k1:{STANDARD}")
    with pytest.raises(KeyConfigurationError, match="the master key 'gone' is not configured"):
        configured_key(keyring, "gone")
    with pytest.raises(KeyConfigurationError, match="the master key with this id is not"):
        configured_key(keyring, f"k1:{OTHER_TEXT}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no master key; `strongroom keys generate`"),
        (" \n", "there is no master key; `strongroom keys generate`"),
        (STANDARD, "master key 1 of 1: it has no ':'"),
        (f"{STANDARD}:k1", "master key 1 of 1: a key id is 1 to 32"),
        (f":{STANDARD}", "master key 1 of 1: a key id is 1 to 32"),
        (f"k 1:{STANDARD}", "a key id is 1 to 32"),
        (f"ké:{STANDARD}", "a key id is 1 to 32"),
        (f"{'k' * 33}:{STANDARD}", "a key id is 1 to 32"),
        (f"k1 :{STANDARD}", "a key id is 1 to 32"),
        (f"k1: {STANDARD}", "the key is not base64"),
        (f"k1:{STANDARD},", "master key 2 of 2: it is empty"),
        (f"k1:{STANDARD},,k2:{OTHER_TEXT}", "master key 2 of 3: it is empty"),
        (f"k1:{STANDARD}\nk2:{OTHER_TEXT}", "1 of 1: the key is not base64; .* commas between"),
        ("k1:", "the key is not base64"),
        ("k1:%%%%", "the key is not base64"),
        (f"k1:{STANDARD[:20]}é{STANDARD[21:]}", "the key is not base64"),
        (f"k1:{STANDARD}=", "base64 is incomplete"),
        (f"k1:{STANDARD.rstrip('=')}==", "base64 is incomplete"),
        (f"k1:{STANDARD[:-3]}", "base64 is incomplete"),
        (f"k2:{OTHER_TEXT},k1:{STANDARD[:-4]}", "2 of 2: the key has 30 bytes but must have 32"),
        (f"k1:{MATERIAL.hex()}", "the key has 48 bytes but must have 32"),
        (f"k1:{base64.b64encode(bytes(32)).decode()}", "the key is one byte repeated"),
        (f"k1:{base64.b64encode(b'a' * 32).decode()}", "the key is one byte repeated"),
        (f"k1:{STANDARD},k1:{OTHER_TEXT}", "two master keys have the id 'k1'"),
        (f"k1:{STANDARD},k1:{STANDARD}", "two master keys have the id 'k1'"),
        (f"k1:{STANDARD},k2:{URL_SAFE}", "'k1' and 'k2' are the same key"),
    ],
)
def test_text_that_is_no_keyring_is_refused_and_not_repeated(text: str, says: str) -> None:
    with pytest.raises(KeyConfigurationError, match=says) as caught:
        Keyring.parse(text)
    assert_tells_nothing(caught.value, STANDARD, URL_SAFE, OTHER_TEXT, MATERIAL.hex())


def test_a_mistyped_last_character_is_refused() -> None:
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stem, last = STANDARD[:-2], digits.index(STANDARD[-2])
    spelled_alike = [digits[last ^ spare] for spare in (1, 2, 3)]
    for wrong in spelled_alike:
        assert base64.b64decode(f"{stem}{wrong}=") == MATERIAL
        with pytest.raises(KeyConfigurationError, match="last character can't be right"):
            Keyring.parse(f"k1:{stem}{wrong}=")


@settings(deadline=None, database=None)
@given(
    material=st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 8),
    spoil=st.sampled_from(
        ["{0}", "{0}:id", "id:{0}x", "id{0}:", "id:{0},id:{0}", "id:{0},other:{0}", "i:{0}\n{0}"]
    ),
)
def test_no_error_repeats_a_part_of_a_key(material: bytes, spoil: str) -> None:
    encoded = base64.b64encode(material).decode()
    with pytest.raises(KeyConfigurationError) as caught:
        Keyring.parse(spoil.format(encoded))
    assert_tells_nothing(caught.value, encoded)


@settings(deadline=None, database=None)
@given(st.text(max_size=120))
def test_any_text_is_a_keyring_or_a_configuration_error(text: str) -> None:
    with contextlib.suppress(KeyConfigurationError):
        assert Keyring.parse(text).ids()


@pytest.mark.parametrize(
    ("key_id", "material"),
    [("no good", MATERIAL), ("k1", MATERIAL[:31]), ("k1", MATERIAL + b"\0"), ("k1", bytes(32))],
)
def test_a_master_key_is_checked_however_it_is_made(key_id: str, material: bytes) -> None:
    with pytest.raises(KeyConfigurationError) as caught:
        MasterKey(key_id, material)
    assert repr(material)[2:-1] not in told_by(caught.value)


def test_a_keyring_without_keys_is_refused() -> None:
    with pytest.raises(KeyConfigurationError, match="there is no master key"):
        Keyring([])


def test_a_generated_key_is_read_back() -> None:
    text = generate_master_key(now=lambda: datetime(2026, 11, 23, 23, 59, tzinfo=UTC))
    key_id, _, encoded = text.partition(":")
    assert key_id.startswith("k20261123")
    assert len(bytes.fromhex(key_id.removeprefix("k20261123"))) == 2
    assert len(base64.b64decode(encoded, validate=True)) == 32
    assert Keyring.parse(text).ids() == (key_id,)


def test_generated_keys_differ() -> None:
    assert len({generate_master_key("same") for _ in range(100)}) == 100


def test_a_generated_key_takes_a_given_id_and_refuses_a_bad_one() -> None:
    assert generate_master_key("mine").startswith("mine:")
    with pytest.raises(KeyConfigurationError, match="a key id is 1 to 32") as caught:
        generate_master_key("not mine")
    assert "not mine" not in str(caught.value)


def test_no_display_shows_a_key() -> None:
    key = MasterKey("k1", MATERIAL)
    keyring = Keyring([key])
    for shown in (f"{key}", f"{key!r}", "%s" % key, str([key])):  # noqa: UP031
        assert "MasterKey(id='k1')" in shown
        assert repr(MATERIAL)[2:-1] not in shown
    assert repr(keyring) == str(keyring) == "Keyring(ids=('k1',))"
    assert not hasattr(key, "__dict__")
    assert not hasattr(keyring, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_keys_are_not_pickled(protocol: int) -> None:
    key = MasterKey("k1", MATERIAL)
    for held in (key, Keyring([key])):
        with pytest.raises(TypeError, match="can't be copied or pickled"):
            pickle.dumps(held, protocol)


def test_keys_are_not_copied() -> None:
    key = MasterKey("k1", MATERIAL)
    for held in (key, Keyring([key])):
        with pytest.raises(TypeError, match="can't be copied or pickled"):
            copy.copy(held)
        with pytest.raises(TypeError, match="can't be copied or pickled"):
            copy.deepcopy(held)


def assert_tells_nothing(error: BaseException, *texts: str) -> None:
    """The error shows no eight consecutive characters of any of the texts."""
    told = told_by(error)
    for text in texts:
        for start in range(len(text) - 7):
            assert text[start : start + 8] not in told
