"""Checks of keys: those of counterparts and operators, and the two key rings, each read as at the start."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from worker.settings.check_files import content_of, open_to_all, pem_public_key, secret
from worker.settings.counterparts import Counterpart
from worker.settings.findings import Finding, error, warning
from worker.settings.readers import Readers, RingIds, RingPurpose
from worker.settings.tree import Settings

_OURS: Final = (
    "give our private key for this counterpart (RSA, 2048 bits or more), with its password if it has one"
)
_THEIRS: Final = "give the public key that the counterpart gave you: RSA, 2048 bits or more"


def counterpart_keys(counterpart: Counterpart, section: str, readers: Readers) -> Iterator[Finding]:
    """Tell which keys of a counterpart cannot be used, or stand where another belongs."""
    own = yield from _own_key(counterpart, section, readers)
    versions: dict[str, str] = {}
    for version, path in counterpart.public_key_files.items():
        name = f"{section}.public_key_files[{version}]"
        found = yield from _public_key(name, path, readers)
        if found is None:
            continue
        if found == own:
            what = f"{path} holds our own public key, the half of private_key_file: no answer would verify"
            yield error(name, what, _THEIRS)
        elif found in versions:
            what = f"{path} holds the same key as version {versions[found]}"
            yield warning(name, what, "check which of the two files is right")
        versions.setdefault(found, version)


def operator_keys(settings: Settings) -> Iterator[Finding]:
    """Tell which files of operators hold no public key."""
    for operator, path in settings.operators.public_key_files.items():
        yield from pem_public_key(f"operators.public_key_files[{operator}]", path)


def key_rings(settings: Settings, ring_ids: RingIds) -> Iterator[Finding]:
    """Tell what keeps the two key rings from being used."""
    sealing = settings.sealing
    yield from _ring(
        sealing.keys_file, active=sealing.active, purpose="sealing", prefix="sealing.", ring_ids=ring_ids
    )
    yield from _ring(
        sealing.fingerprint_keys_file,
        active=sealing.fingerprint_active,
        purpose="fingerprints",
        prefix="sealing.fingerprint_",
        ring_ids=ring_ids,
    )


def _own_key(
    counterpart: Counterpart, section: str, readers: Readers
) -> Generator[Finding, None, str | None]:
    """Return the fingerprint of our public half, `None` where the key cannot be read."""
    name, path = f"{section}.private_key_file", counterpart.private_key_file
    yield from open_to_all(name, path)
    content = content_of(name, path)
    if isinstance(content, Finding):
        yield content
    password: str | Finding | None = None
    if counterpart.private_key_password_file is not None:
        password_name = f"{section}.private_key_password_file"
        yield from open_to_all(password_name, counterpart.private_key_password_file)
        password = secret(password_name, counterpart.private_key_password_file, readers.secret)
        if isinstance(password, Finding):
            yield password
    if isinstance(content, Finding) or isinstance(password, Finding):
        return None
    try:
        return readers.private_key(content, source=str(path), password=password)
    except ValueError as refusal:
        yield error(name, f"{refusal}", _OURS)
        return None


def _public_key(name: str, path: Path, readers: Readers) -> Generator[Finding, None, str | None]:
    """Return the fingerprint of a counterpart's key, `None` where it cannot be read."""
    content = content_of(name, path)
    if isinstance(content, Finding):
        yield content
        return None
    try:
        return readers.public_key(content, source=str(path))
    except ValueError as refusal:
        yield error(name, f"{refusal}", _THEIRS)
        return None


def _ring(
    path: Path | None, *, active: str | None, purpose: RingPurpose, prefix: str, ring_ids: RingIds
) -> Iterator[Finding]:
    name = f"{prefix}keys_file"
    if path is None:
        yield error(name, "is missing", "make a key ring with `unbinding keys new` and give its path")
        return
    yield from open_to_all(name, path)
    content = content_of(name, path)
    if isinstance(content, Finding):
        yield content
        return
    try:
        ids = ring_ids(path, purpose=purpose)
    except (OSError, ValueError) as refusal:
        told = refusal.strerror if isinstance(refusal, OSError) else refusal
        yield error(name, f"is no key ring: {told}", "make one with `unbinding keys new`")
        return
    if active is None and len(ids) > 1:
        yield error(f"{prefix}active", "is missing, and the ring has more than one key", "name one of them")
    elif active is not None and active not in ids:
        remedy = f"use one of: {', '.join(sorted(ids))}"
        yield error(f"{prefix}active", f"names a key that {name} does not have", remedy)
