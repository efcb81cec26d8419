"""Sealed values and key files, changed in any place: opened unchanged, or refused without a word of them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import strategies as st

from tests.fuzz.doors import door
from tests.fuzz.grammar import odd_text, torn
from tests.shard.desk import PRINTS, SEALING, vault_of
from worker.sealing import (
    Fingerprints,
    KeyFileInvalid,
    Purpose,
    Sealed,
    Sealer,
    SealingError,
    new_key_file,
    read_key_file,
    write_key_file,
)
from worker.shard.vault import TOKEN_AAD, VaultError

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [
    pytest.mark.promise("P8", "P10"),
    pytest.mark.fault("sealed values, sealed tokens and key rings changed in any place"),
]

PLAIN: Final = b"s3cr3t-original"
_SEALER: Final = Sealer(SEALING, random=bytes)
_KEY: Final = bytes(range(32))
_RING: Final = write_key_file(new_key_file(purpose=Purpose.SEALING, key_id="2025-03", random=lambda _: _KEY))
_TELLING: Final = 6
"""Characters from which on a text says something."""
_CODED: Final = base64.b64encode(_KEY).decode()


def _check(refusal: Exception, *, hides: Iterable[str]) -> None:
    """See that a refusal is one short line and has nothing of a secret in it."""
    told = str(refusal)
    assert told
    assert told.isprintable(), ascii(told)
    assert len(told) < 900
    assert not any(secret in told for secret in hides if len(secret) >= _TELLING)


def _check_source(refusal: Exception) -> None:
    assert str(refusal).startswith("ring.toml: ")


@door(
    "sealing",
    examples=400,
    key_id=st.just("sealing-1") | odd_text(),
    aad=st.just(b"saga-1") | st.binary(max_size=9),
    data=st.data(),
)
def test_a_sealed_value_opens_unchanged_or_not_at_all(key_id: str, aad: bytes, data: Any) -> None:
    """Value, key id and place are all bound: with any of them changed nothing comes out or is told."""
    right = _SEALER.seal(PLAIN, aad=b"saga-1")
    value = data.draw(torn(right.value))
    try:
        opened = _SEALER.unseal(Sealed(key_id=key_id, value=value), aad=aad)
    except SealingError as refusal:
        _check(refusal, hides=(PLAIN.decode(), value.hex()))
        return
    assert (opened, value, key_id, aad) == (PLAIN, right.value, "sealing-1", b"saga-1")


@door("sealing", examples=300, data=st.data())
def test_a_sealed_token_opens_unchanged_or_not_at_all(data: Any) -> None:
    """A token that upstream sealed, changed as text, is its token, or refused without quoting it."""
    sealed = _SEALER.seal(b"s3cr3t-token", aad=TOKEN_AAD)
    right = f"sealed:{sealed.key_id}:{base64.b64encode(sealed.value).decode()}"
    text = data.draw(torn(right.encode())).decode("latin-1")
    try:
        token = vault_of().open_token(text)
    except VaultError as refusal:
        _check(refusal, hides=("s3cr3t", text[10:40]))
        return
    assert token == "s3cr3t-token"


@door("sealing", examples=500, purpose=st.sampled_from(Purpose), data=st.data())
def test_a_changed_key_ring_is_used_or_refused_clearly(purpose: Purpose, data: Any) -> None:
    """A key ring of any text gives its keys, or one text that names the file and shows no part of a key."""
    text = data.draw(
        torn(_RING.encode())
        | odd_text().map(lambda odd: _RING.replace("2025-03", odd).encode("utf-8", "replace"))
    ).decode("utf-8", "replace")
    try:
        found = read_key_file(text, purpose=purpose, source="ring.toml")
    except KeyFileInvalid as refusal:
        _check(refusal, hides=[_CODED[at : at + 8] for at in range(len(_CODED) - 8)])
        _check_source(refusal)
        return
    assert found.keys
    assert all(len(key) == 32 for key in found.keys.values())
    assert _CODED not in repr(found)


@door("sealing", examples=300, token=odd_text(), data=st.data())
def test_a_changed_fingerprint_never_matches(token: str, data: Any) -> None:
    """A fingerprint matches the token that it was made of and, changed, no token; nothing else is raised."""
    prints = Fingerprints(PRINTS)
    right = prints.fingerprint(token)
    changed = data.draw(torn(right.encode())).decode("latin-1")
    try:
        same = prints.matches(token, changed)
    except SealingError as refusal:
        _check(refusal, hides=(token if len(token) > _TELLING else "",))
        return
    assert same is (changed == right)
