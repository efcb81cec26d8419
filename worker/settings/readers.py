"""What a check is handed: readers of keys, rings and paths, which other parts of the worker know how to read.

Each raises `ValueError` with a message fit to show for what cannot be used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

RingPurpose = Literal["sealing", "fingerprints"]
"""What the keys of a ring are for; each file says it."""


class RingIds(Protocol):
    """Reads the ids of a key ring, and no keys, from a file."""

    def __call__(self, path: Path, *, purpose: RingPurpose) -> Collection[str]:
        """Return the ids. Raises `ValueError` or `OSError`."""
        ...


class PrivateKey(Protocol):
    """Reads our private key as the start of the worker does."""

    def __call__(self, content: bytes, *, source: str, password: str | None) -> str:
        """Return the fingerprint of its public half; `source` names the file. Raises `ValueError`."""
        ...


class PublicKey(Protocol):
    """Reads a public key as the start of the worker does."""

    def __call__(self, content: bytes, *, source: str) -> str:
        """Return its fingerprint; `source` names the file. Raises `ValueError`."""
        ...


class Secret(Protocol):
    """Reads a secret of one line from its file."""

    def __call__(self, path: Path) -> str:
        """Return it without the line's end. Raises `ValueError`."""
        ...


class WirePath(Protocol):
    """Joins base URL and path as the worker does before its first call."""

    def __call__(self, base_url: str, path: str) -> str:
        """Return what goes over the wire. Raises `ValueError` unless that is the path as written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """All that a check is handed."""

    ring_ids: RingIds
    private_key: PrivateKey
    public_key: PublicKey
    secret: Secret
    wire_path: WirePath
