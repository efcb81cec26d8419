"""Secrets at rest, pure: the key ring, sealed values, fingerprints and digests, the text of key files."""

from worker.sealing.errors import (
    FingerprintMalformed,
    KeyFileInvalid,
    SealBroken,
    SealingError,
    UnknownSealingKey,
)
from worker.sealing.fingerprints import DIGEST_BYTES, Fingerprints
from worker.sealing.key_files import (
    FILE_MODE,
    Exposure,
    KeyFile,
    KeyFileWarning,
    Purpose,
    new_key_file,
    permission_warnings,
    read_key_file,
    with_new_key,
    write_key_file,
)
from worker.sealing.key_ring import KEY_BYTES, KeyRing, is_key_id, new_key
from worker.sealing.seal import OVERHEAD_BYTES, Sealed, Sealer

__all__ = [
    "DIGEST_BYTES",
    "FILE_MODE",
    "KEY_BYTES",
    "OVERHEAD_BYTES",
    "Exposure",
    "FingerprintMalformed",
    "Fingerprints",
    "KeyFile",
    "KeyFileInvalid",
    "KeyFileWarning",
    "KeyRing",
    "Purpose",
    "SealBroken",
    "Sealed",
    "Sealer",
    "SealingError",
    "UnknownSealingKey",
    "is_key_id",
    "new_key",
    "new_key_file",
    "permission_warnings",
    "read_key_file",
    "with_new_key",
    "write_key_file",
]
