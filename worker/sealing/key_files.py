"""Key files: the text of a key ring at rest, read strictly and written for people.

    # Secret. Keep readable by the worker alone.
    version = 1
    purpose = "sealing"

    [keys]
    "2025-03" = "…Base64 of 32 bytes…"

Pure: reading and writing the file itself is the caller's. TOML, so that it can carry remarks; ``purpose``
keeps a sealing key from being used for fingerprints by a mixed-up path.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from worker.sealing.errors import KeyFileInvalid
from worker.sealing.key_ring import KEY_BYTES, KeyRing, is_key_id, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VERSION: Final = 1
_NAMES: Final = frozenset({"version", "purpose", "keys"})
_OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

FILE_MODE: Final = 0o600
"""The permissions that a key file is to be written with."""


class Purpose(StrEnum):
    """What the keys of a file are for; one key serves one purpose."""

    SEALING = "sealing"
    FINGERPRINTS = "fingerprints"


class Exposure(StrEnum):
    """How a key file's permissions are wider than they should be."""

    READABLE = "readable"
    """Other accounts can read the keys."""
    WRITABLE = "writable"
    """Other accounts can exchange the keys."""


@dataclass(frozen=True, slots=True)
class KeyFileWarning:
    """A reason to warn about a key file that does not stop a start: mounted secrets are often 0644."""

    exposure: Exposure
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """The content of a key file."""

    purpose: Purpose
    keys: Mapping[str, bytes] = field(repr=False)
    """Id → 32-byte key, in the file's order."""

    def ring(self, *, active: str | None = None) -> KeyRing:
        """Make the ring. ``active`` may be left out where there is one key alone. Raises KeyFileInvalid."""
        if active is None:
            if len(self.keys) != 1:
                raise KeyFileInvalid(
                    f"the {self.purpose.value} key file has {len(self.keys)} keys: name the active one"
                )
            (active,) = self.keys
        return KeyRing(self.keys, active=active)


def new_key_file(*, purpose: Purpose, key_id: str, random: Callable[[int], bytes] = os.urandom) -> KeyFile:
    """Make the content of a new file with one new key. Raises KeyFileInvalid for an unusable id."""
    return with_new_key(KeyFile(purpose=purpose, keys={}), key_id=key_id, random=random)


def with_new_key(file: KeyFile, *, key_id: str, random: Callable[[int], bytes] = os.urandom) -> KeyFile:
    """Add a new key, the first step of a rotation. Raises KeyFileInvalid if the id is taken or unusable."""
    if not is_key_id(key_id):
        raise KeyFileInvalid(f"key id {key_id[:64]!a} cannot be used: take up to 64 letters, digits, . _ -")
    if key_id in file.keys:
        raise KeyFileInvalid(f"the key file has a key {key_id!r} already: take another id")
    return KeyFile(purpose=file.purpose, keys={**file.keys, key_id: new_key(random)})


def read_key_file(text: str, *, purpose: Purpose, source: str) -> KeyFile:
    """Read a key file's text; ``source`` names the file in messages.

    Raises KeyFileInvalid, whose text never shows a key: not TOML, an id twice, unknown names, another
    purpose, a key that is not Base64 of 32 bytes or is a placeholder, the same key under two ids, or no key
    at all.
    """
    content = _toml(text, source=source)
    if not _NAMES.issuperset(content):
        raise KeyFileInvalid(
            f"{source}: a key file has version, purpose and the table [keys], and nothing else beside them"
        )
    if content.get("version") != _VERSION or content["version"] is True:
        raise KeyFileInvalid(f"{source}: expected 'version = {_VERSION}'; this worker reads no other")
    if content.get("purpose") != purpose.value:
        raise KeyFileInvalid(
            f"{source}: expected 'purpose = \"{purpose.value}\"'; check that this is the right file"
        )
    listed = content.get("keys")
    if not isinstance(listed, dict) or not listed:
        raise KeyFileInvalid(f"{source}: the table [keys] has no key; make one with 'unbinding keys new'")
    keys: dict[str, bytes] = {}
    for key_id, coded in listed.items():
        key = _key(key_id, coded, source=source)
        if key in keys.values():
            raise KeyFileInvalid(f"{source}: key {key_id!r} is the same as another one: remove one of them")
        keys[key_id] = key
    return KeyFile(purpose=purpose, keys=keys)


def write_key_file(file: KeyFile) -> str:
    """Write a key file's text. It is secret: create the file with mode ``FILE_MODE`` before writing."""
    lines = [
        f"# Secret keys for {file.purpose.value}. Only the worker and the people on call may read this file.",
        "# Keep an old key for as long as anything made with it is kept.",
        f"version = {_VERSION}",
        f'purpose = "{file.purpose.value}"',
        "",
        "[keys]",
        *(f'"{key_id}" = "{base64.b64encode(key).decode("ascii")}"' for key_id, key in file.keys.items()),
    ]
    return "\n".join(lines) + "\n"


def permission_warnings(mode: int, *, source: str) -> tuple[KeyFileWarning, ...]:
    """Tell what is too wide about a key file's mode (``os.stat(…).st_mode``)."""
    warnings = []
    advice = f"{source} (mode {stat.S_IMODE(mode):04o}); narrow it with: chmod {FILE_MODE:o} FILE"
    if mode & _OTHERS_READ:
        warnings.append(KeyFileWarning(Exposure.READABLE, f"other accounts can read the key file {advice}"))
    if mode & _OTHERS_WRITE:
        warnings.append(KeyFileWarning(Exposure.WRITABLE, f"other accounts can change the key file {advice}"))
    return tuple(warnings)


def _toml(text: str, *, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\N{BYTE ORDER MARK}"))
    except (tomllib.TOMLDecodeError, RecursionError):
        # The parser's own text could quote the file.
        raise KeyFileInvalid(
            f"{source}: this is not TOML, or it names a key twice; expected version, purpose and [keys]"
        ) from None


def _key(key_id: str, coded: object, *, source: str) -> bytes:
    if not is_key_id(key_id):
        raise KeyFileInvalid(
            # Not shown: somebody who mixes up both sides of the "=" writes the key here.
            f"{source}: a key id cannot be used: take up to 64 letters, digits, . _ -"
        )
    if not isinstance(coded, str):
        raise KeyFileInvalid(
            f"{source}: key {key_id!r} is not a text; expected the Base64 of {KEY_BYTES} bytes"
        )
    try:
        key = binascii.a2b_base64(coded.encode("ascii", "replace"), strict_mode=True)
    except binascii.Error:
        key = None
    # Written again it must be the same: Python before 3.13 lets surplus padding pass.
    if key is None or base64.b64encode(key).decode("ascii") != coded:
        raise KeyFileInvalid(f"{source}: key {key_id!r} is not the Base64 of {KEY_BYTES} bytes")
    if len(key) != KEY_BYTES:
        raise KeyFileInvalid(
            f"{source}: key {key_id!r} has {len(key)} bytes, not {KEY_BYTES}: make a new one"
        )
    if len(set(key)) == 1:
        raise KeyFileInvalid(f"{source}: key {key_id!r} is a placeholder: make one with 'unbinding keys new'")
    return key
