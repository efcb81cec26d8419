"""Sealed values: what goes in comes out under the right key and place, and under no other."""

from __future__ import annotations

import os
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from worker.sealing import (
    OVERHEAD_BYTES,
    KeyFileInvalid,
    KeyRing,
    SealBroken,
    Sealed,
    Sealer,
    UnknownSealingKey,
    new_key,
)

pytestmark = pytest.mark.promise("P8")

OLD = bytes(range(32))
NEW = bytes(range(32, 64))
TOKEN = b"tok_9f3c2b7e55aa4d10"

sealer = Sealer(KeyRing({"old": OLD, "new": NEW}, active="new"))


@given(plaintext=st.binary(max_size=2_000), aad=st.binary(max_size=64))
def test_what_was_sealed_is_unsealed(plaintext: bytes, aad: bytes) -> None:
    """Any bytes, bound to anything, come back; the sealed value is longer by a constant."""
    sealed = sealer.seal(plaintext, aad=aad)

    assert sealed.key_id == "new"
    assert len(sealed.value) == len(plaintext) + OVERHEAD_BYTES
    assert sealer.unseal(sealed, aad=aad) == plaintext


@given(plaintext=st.binary(max_size=60), at=st.integers(0), mask=st.integers(1, 255))
def test_every_changed_byte_is_noticed(plaintext: bytes, at: int, mask: int) -> None:
    """A sealed value with any one byte changed, the version byte too, does not open."""
    sealed = sealer.seal(plaintext, aad=b"saga-1")
    value = bytearray(sealed.value)
    value[at % len(value)] ^= mask

    with pytest.raises(SealBroken):
        sealer.unseal(Sealed(key_id="new", value=bytes(value)), aad=b"saga-1")


@given(value=st.binary(max_size=80), aad=st.binary(max_size=8))
def test_arbitrary_bytes_never_open(value: bytes, aad: bytes) -> None:
    """Bytes that were never sealed, with the right version byte or not, are refused without a crash."""
    for candidate in (value, b"\x01" + value):
        with pytest.raises(SealBroken):
            sealer.unseal(Sealed(key_id="new", value=candidate), aad=aad)


def test_every_cut_value_is_noticed() -> None:
    """A sealed value cut at any point, or lengthened, does not open."""
    sealed = sealer.seal(b"x" * 20, aad=b"")

    for end in range(len(sealed.value)):
        with pytest.raises(SealBroken):
            sealer.unseal(Sealed(key_id="new", value=sealed.value[:end]), aad=b"")
    with pytest.raises(SealBroken):
        sealer.unseal(Sealed(key_id="new", value=sealed.value + b"\0"), aad=b"")


@pytest.mark.parametrize("other", [b"", b"saga-2", b"saga-1 ", b"saga-"])
def test_a_value_opens_only_in_its_place(other: bytes) -> None:
    """A value sealed for one saga does not open for another."""
    sealed = sealer.seal(TOKEN, aad=b"saga-1")

    with pytest.raises(SealBroken):
        sealer.unseal(sealed, aad=other)


def test_a_value_opens_only_under_its_key() -> None:
    """A value whose key id was exchanged, or whose key was, does not open."""
    sealed = sealer.seal(TOKEN, aad=b"")

    with pytest.raises(SealBroken):
        sealer.unseal(Sealed(key_id="old", value=sealed.value), aad=b"")
    with pytest.raises(SealBroken, match="another key"):
        Sealer(KeyRing({"new": OLD}, active="new")).unseal(sealed, aad=b"")


def test_old_values_open_after_a_rotation() -> None:
    """After the active key changes, old values still open and new ones carry the new key's id."""
    before = Sealer(KeyRing({"old": OLD}, active="old"))
    after = Sealer(KeyRing({"old": OLD, "new": NEW}, active="new"))

    assert after.unseal(before.seal(TOKEN, aad=b"a"), aad=b"a") == TOKEN
    assert after.seal(TOKEN, aad=b"a").key_id == "new"
    assert after.seal(TOKEN, aad=b"a", key_id="old").key_id == "old"


def test_a_key_that_is_gone_is_named() -> None:
    """A value of a key that the ring lacks is told apart from a broken one, by the key's id."""
    sealed = sealer.seal(TOKEN, aad=b"")
    without = Sealer(KeyRing({"old": OLD}, active="old"))

    with pytest.raises(UnknownSealingKey, match="'new'") as caught:
        without.unseal(sealed, aad=b"")
    assert caught.value.key_id == "new"
    with pytest.raises(UnknownSealingKey):
        without.seal(TOKEN, aad=b"", key_id="new")


def test_wire_form_is_what_the_documentation_says() -> None:
    """Version byte 1, the nonce, then AES-256-GCM with the version byte bound before the associated data."""
    sealed = sealer.seal(TOKEN, aad=b"saga-1")

    assert sealed.value[:1] == b"\x01"
    assert AESGCM(NEW).decrypt(sealed.value[1:13], sealed.value[13:], b"\x01saga-1") == TOKEN


def test_a_later_wire_form_is_told_by_its_number() -> None:
    """A value of an unknown form is refused with that form's number."""
    with pytest.raises(SealBroken, match="form 2"):
        sealer.unseal(Sealed(key_id="new", value=b"\x02" + bytes(40)), aad=b"")


def test_nonces_come_from_the_given_chance() -> None:
    """With the same seed the same values come out, so that a simulation repeats; nonces still differ."""
    ring = KeyRing({"new": NEW}, active="new")
    first = Sealer(ring, random=Random(7).randbytes)  # noqa: S311 - a seeded source is the point
    second = Sealer(ring, random=Random(7).randbytes)  # noqa: S311 - a seeded source is the point

    made = [first.seal(TOKEN, aad=b"") for _ in range(50)]

    assert made == [second.seal(TOKEN, aad=b"") for _ in range(50)]
    assert len({sealed.value[1:13] for sealed in made}) == 50


def test_short_chance_is_refused() -> None:
    """A source of chance that gives too few bytes makes neither nonce nor key."""
    with pytest.raises(ValueError, match="4 bytes instead of 12"):
        Sealer(KeyRing({"new": NEW}, active="new"), random=lambda _: b"4444").seal(b"", aad=b"")
    with pytest.raises(ValueError, match="4 bytes instead of 32"):
        new_key(lambda _: b"4444")


def test_new_keys_are_random_and_of_the_right_size() -> None:
    """New keys have 32 bytes and are never the same."""
    assert len({new_key() for _ in range(20)}) == 20
    assert len(new_key(os.urandom)) == 32


@pytest.mark.parametrize(
    ("keys", "active", "message"),
    [
        ({"a": OLD[:31]}, "a", "31 bytes, not 32"),
        ({"a": OLD + b"x"}, "a", "33 bytes, not 32"),
        ({"a": OLD, "b": OLD}, "a", "same key"),
        ({"a": OLD}, "b", "'b' is not in the key ring .there are: a"),
        ({}, "a", "there are: none"),
        ({"a:b": OLD}, "a:b", "cannot be used"),
        ({"": OLD}, "", "cannot be used"),
        ({"a b": OLD}, "a b", "cannot be used"),
        ({"a\n": OLD}, "a\n", "cannot be used"),
        ({"ä": OLD}, "ä", "cannot be used"),
        ({"a" * 65: OLD}, "a" * 65, "cannot be used"),
    ],
)
def test_wrong_rings_are_refused(keys: dict[str, bytes], active: str, message: str) -> None:
    """A ring with a wrong length, a key twice, an unusable id or an unknown active key is refused."""
    with pytest.raises(KeyFileInvalid, match=message):
        KeyRing(keys, active=active)


def test_active_key_is_listed_first() -> None:
    """The ring lists all live ids, the active one first."""
    assert KeyRing({"a": OLD, "b": NEW}, active="b").ids == ("b", "a")


def test_reprs_and_messages_show_no_secret() -> None:
    """Neither ring, sealer, sealed value nor any error shows key, token or ciphertext."""
    ring = KeyRing({"old": OLD, "new": NEW}, active="new")
    sealed = sealer.seal(TOKEN, aad=b"saga-1")
    with pytest.raises(SealBroken) as caught:
        sealer.unseal(sealed, aad=b"other")

    for text in (repr(ring), repr(sealer), repr(sealed), str(caught.value), repr(caught.value)):
        for secret in (OLD, NEW, TOKEN, sealed.value):
            assert secret.hex() not in text
            assert repr(secret)[2:14] not in text


def test_ring_names_the_key_that_it_lacks() -> None:
    """Asking the ring for a key that it lacks names the key's id, quoted: it may come from outside."""
    with pytest.raises(UnknownSealingKey, match=r"'x\\n'"):
        KeyRing({"a": OLD}, active="a").key("x\n")
