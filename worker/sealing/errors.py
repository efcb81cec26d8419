"""Everything that can go wrong with sealed values, fingerprints and the files of their keys.

    SealingError
    ├── UnknownSealingKey      a sealed value or a fingerprint names a key that the ring does not hold
    ├── SealBroken             the value was changed, was bound to something else, or is not sealed at all
    └── FingerprintMalformed   a text that should be a fingerprint is none

    KeyFileInvalid             a key file cannot be used; a matter of configuration

No text here ever holds a key, a plaintext or a token.
"""

from __future__ import annotations


class SealingError(Exception):
    """A sealed value or a fingerprint cannot be used."""


class UnknownSealingKey(SealingError):
    """The ring lacks the key that a value was sealed or fingerprinted with."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the key ring holds no key {key_id[:64]!a}: put it back into the key file, or give it up"
        )
        self.key_id = key_id


class SealBroken(SealingError):
    """A sealed value does not open: it was changed, or was sealed for another place."""


class FingerprintMalformed(SealingError):
    """The text is not of the form ``{key id}:{64 hex digits}``."""


class KeyFileInvalid(Exception):
    """A key file cannot be read; the text says where and what to do, and never shows a key."""
