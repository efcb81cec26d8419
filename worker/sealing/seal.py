"""Sealing: values that nobody can read or change at rest (AES-256-GCM, the key id travels beside them)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.sealing.errors import SealBroken, UnknownSealingKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sealing.key_ring import KeyRing

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16

OVERHEAD_BYTES: Final = len(_VERSION) + _NONCE_BYTES + _TAG_BYTES
"""By how many bytes a sealed value is longer than its plaintext."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A sealed value, and the id of the key that opens it."""

    key_id: str
    value: bytes = field(repr=False)
    """Version byte 1, nonce of 12 bytes, ciphertext, tag of 16 bytes."""


class Sealer:
    """Seals and unseals under the keys of a ring.

    Nonces are random, 96 bits: one key should not seal more than 2^32 values (NIST SP 800-38D, 8.3), which
    is four months at 400 values a second over the whole fleet. Change the active key long before; old ones
    still open.
    """

    __slots__ = ("_active", "_ciphers", "_random")

    def __init__(self, ring: KeyRing, *, random: Callable[[int], bytes] = os.urandom) -> None:
        """Prepare every key of the ring; ``random`` gives that many bytes, never the same ones twice."""
        self._ciphers = {key_id: AESGCM(ring.key(key_id)) for key_id in ring.ids}
        self._active = ring.active
        self._random = random

    def seal(self, plaintext: bytes, *, aad: bytes, key_id: str | None = None) -> Sealed:
        """Encrypt under the active key, or the one named.

        ``aad`` (a saga id, say) is not stored, only bound: unsealing needs the same. Raises
        UnknownSealingKey.
        """
        chosen = self._active if key_id is None else key_id
        cipher = self._cipher(chosen)
        nonce = self._random(_NONCE_BYTES)
        if len(nonce) != _NONCE_BYTES:
            raise ValueError(f"the source of chance gave {len(nonce)} bytes instead of {_NONCE_BYTES}")
        return Sealed(
            key_id=chosen, value=_VERSION + nonce + cipher.encrypt(nonce, plaintext, _VERSION + aad)
        )

    def unseal(self, sealed: Sealed, *, aad: bytes) -> bytes:
        """Return the plaintext.

        Raises UnknownSealingKey, or SealBroken if ``value`` or ``aad`` are not what was sealed.
        """
        cipher = self._cipher(sealed.key_id)
        value = sealed.value
        if len(value) < OVERHEAD_BYTES:
            raise SealBroken(f"the value has {len(value)} bytes; a sealed one has at least {OVERHEAD_BYTES}")
        if not value.startswith(_VERSION):
            raise SealBroken(
                f"the value's form {value[0]} is not known to this version; only {_VERSION[0]} is"
            )
        nonce = value[len(_VERSION) : len(_VERSION) + _NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, value[len(_VERSION) + _NONCE_BYTES :], _VERSION + aad)
        except InvalidTag:
            raise SealBroken(
                f"a value sealed with key {sealed.key_id!r} does not open: it was changed, stands where "
                "it was not sealed for, or that key id now names another key"
            ) from None

    def _cipher(self, key_id: str) -> AESGCM:
        try:
            return self._ciphers[key_id]
        except KeyError:
            raise UnknownSealingKey(key_id) from None
