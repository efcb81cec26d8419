"""The key ring: secret 32-byte keys by id, one of which is active."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from worker.sealing.errors import KeyFileInvalid, UnknownSealingKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY_BYTES: Final = 32

_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")


def new_key(random: Callable[[int], bytes] = os.urandom) -> bytes:
    """Make a key of 32 bytes from the source of chance that is given."""
    key = random(KEY_BYTES)
    if len(key) != KEY_BYTES:
        raise ValueError(f"the source of chance gave {len(key)} bytes instead of {KEY_BYTES}")
    return key


def is_key_id(text: str) -> bool:
    """Tell whether a text may name a key: up to 64 letters, digits, ``.``, ``_``, ``-`` (it is a header)."""
    return _KEY_ID.fullmatch(text) is not None


class KeyRing:
    """Keys by id. New values are made with the active key; the others still open and match older ones.

    Neither its repr nor any message shows a key.
    """

    __slots__ = ("_keys", "active")

    def __init__(self, keys: Mapping[str, bytes], *, active: str) -> None:
        """Take the live keys. Raises KeyFileInvalid: bad id or length, a key twice, an unknown active id."""
        for key_id, key in keys.items():
            if not is_key_id(key_id):
                raise KeyFileInvalid(
                    f"key id {key_id[:64]!a} cannot be used: take up to 64 letters, digits, . _ -"
                )
            if len(key) != KEY_BYTES:
                raise KeyFileInvalid(f"key {key_id!r} has {len(key)} bytes, not {KEY_BYTES}: make a new one")
        if len(set(keys.values())) != len(keys):
            raise KeyFileInvalid("two ids of the key ring have the same key: remove one of them")
        if active not in keys:
            raise KeyFileInvalid(
                f"the active key {active[:64]!a} is not in the key ring "
                f"(there are: {', '.join(keys) or 'none'}): name one that is, or add it to the key file"
            )
        self._keys = dict(keys)
        self.active: str = active
        """The id of the key that new values are made with."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all live keys, the active one first."""
        return (self.active, *(key_id for key_id in self._keys if key_id != self.active))

    def key(self, key_id: str) -> bytes:
        """Return the secret key itself; for sealing and fingerprints alone. Raises UnknownSealingKey."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise UnknownSealingKey(key_id) from None
