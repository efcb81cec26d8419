"""Throw-away RSA keys for both sides, in a directory, so that sandbox and worker fit out of the box."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from worker.sandbox.payment.errors import KeysError
from worker.signing.errors import KeyUnusable
from worker.signing.key_files import load_signer, load_verifier
from worker.signing.keys import Signer, Verifier

KEY_VERSION: Final = "1"
OLD_KEY_VERSION: Final = "0"

_BITS: Final = 2048
_PRIVATE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """Where the keys lie. The worker needs ``client_key`` and ``hub_public``."""

    client_key: Path
    client_public: Path
    hub_key: Path
    hub_public: Path
    hub_old_key: Path
    """The hub's former key: signs what is told to bear an old key version."""
    hub_old_public: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubKeys:
    """The sandbox's side, loaded: what it signs with and whom it believes."""

    signer: Signer
    old_signer: Signer
    client: Verifier


def key_files(directory: Path) -> KeyFiles:
    """Name the key files of a directory."""
    return KeyFiles(
        client_key=directory / "client.key.pem",
        client_public=directory / "client.pub.pem",
        hub_key=directory / "hub.key.pem",
        hub_public=directory / "hub.pub.pem",
        hub_old_key=directory / "hub.old.key.pem",
        hub_old_public=directory / "hub.old.pub.pem",
    )


def make_keys(directory: Path) -> KeyFiles:
    """Make the key pairs that a directory lacks (files 0600); others stay. Raises KeysError."""
    files = key_files(directory)
    try:
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        for private, public in (
            (files.client_key, files.client_public),
            (files.hub_key, files.hub_public),
            (files.hub_old_key, files.hub_old_public),
        ):
            if not private.exists() or not public.exists():
                _make_pair(private, public)
    except OSError as error:
        raise KeysError(
            f"{directory}: keys cannot be written there ({error}): choose another directory"
        ) from None
    return files


def load_hub_keys(files: KeyFiles) -> HubKeys:
    """Load the sandbox's side of the keys. Raises KeysError."""
    try:
        return HubKeys(
            signer=_signer(files.hub_key.read_bytes(), str(files.hub_key)),
            old_signer=_signer(files.hub_old_key.read_bytes(), str(files.hub_old_key)),
            client=load_verifier(files.client_public.read_bytes(), source=str(files.client_public)),
        )
    except OSError as error:
        raise KeysError(
            f"a key file of the sandbox cannot be read ({error}): remove the directory's keys"
        ) from None
    except KeyUnusable as error:
        raise KeysError(str(error)) from error


@lru_cache(maxsize=8)
def _signer(content: bytes, source: str) -> Signer:
    # Checking a private key costs more than all else at a start; tests start a sandbox each.
    return load_signer(content, source=source)


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole that only its owner may read: never half of it, never readable in between."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    passing.replace(path)


def _make_pair(private: Path, public: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    write_private(
        private,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    write_private(
        public,
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )
