"""Prepared RSA keys: what signs, what verifies, and which public key belongs to a client."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from worker.signing.errors import KeyTooSmall, SelfTestFailed, UnknownClient, UnknownKey, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

MINIMUM_BITS: Final = 2048

_PADDING: Final = padding.PKCS1v15()
_PROOF: Final = b"unbinding worker: signing proof"


class Hash(StrEnum):
    """The hash inside a signature, by the names that the payment side's documents use."""

    SHA256 = "SHA256withRSA"
    """All of Alipay+ and Antom, and the newer edition of the envelope."""
    SHA1 = "SHA1withRSA"  # the name in AlipayHK auto-debit "sign"
    """The envelope as AlipayHK's auto-debit documents have it."""


_ALGORITHMS: Final[dict[Hash, hashes.HashAlgorithm]] = {
    Hash.SHA256: hashes.SHA256(),
    Hash.SHA1: hashes.SHA1(),  # noqa: S303 - AlipayHK auto-debit prescribes SHA1withRSA
}


def _refuse_small(bits: int, kind: str) -> None:
    if bits < MINIMUM_BITS:
        raise KeyTooSmall(
            f"the RSA {kind} key has {bits} bits; {MINIMUM_BITS} or more are needed: make a new key pair"
        )


class Verifier:
    """A public key, prepared for many verifications."""

    __slots__ = ("_verify", "fingerprint", "signature_bytes")

    def __init__(self, key: RSAPublicKey) -> None:
        """Prepare a key. Raises KeyTooSmall below 2048 bits."""
        _refuse_small(key.key_size, "public")
        self._verify = key.verify
        self.signature_bytes: int = (key.key_size + 7) // 8
        """The exact length of a signature under this key, in bytes."""
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint: str = hashlib.sha256(spki).hexdigest()[:16]
        """The first 16 hex digits of the SHA-256 over the DER public key: names the key in messages."""

    def fits(self, signature: bytes, text: bytes, *, using: Hash = Hash.SHA256) -> bool:
        """Tell whether this PKCS #1 v1.5 signature was made over this text with the matching private key."""
        try:
            self._verify(signature, text, _PADDING, _ALGORITHMS[using])
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key, prepared for many signatures."""

    __slots__ = ("_sign", "verifier")

    def __init__(self, key: RSAPrivateKey) -> None:
        """Prepare a key. Raises KeyTooSmall below 2048 bits."""
        _refuse_small(key.key_size, "private")
        self._sign = key.sign
        self.verifier: Verifier = Verifier(key.public_key())
        """The public half, for checks and for its fingerprint."""

    def sign(self, text: bytes, *, using: Hash = Hash.SHA256) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5: the same key and text always give the same bytes."""
        return self._sign(text, _PADDING, _ALGORITHMS[using])

    def prove(self, *, using: Hash = Hash.SHA256) -> None:
        """Sign and verify once, so that a refused hash shows at start-up and not at the first call.

        Raises SelfTestFailed: some hardened systems let SHA-1 be verified but not signed.
        """
        try:
            proven = self.verifier.fits(self.sign(_PROOF, using=using), _PROOF, using=using)
        except UnsupportedAlgorithm:
            proven = False
        if not proven:
            raise SelfTestFailed(
                f"the private key of public key {self.verifier.fingerprint} cannot sign {using.value} here: "
                "allow that hash in this system's cryptography policy, or agree on another one"
            )


class PublicKeys:
    """The public keys on file: client id → key version → key.

    A version that a message names must be there exactly so; where none is named the newest is meant
    (Alipay+ "API fundamentals": a left-out ``keyVersion`` is the newest key bound to the client).
    Newest is the highest number; among versions that are not numbers, which rank below, the one listed last.
    """

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: Mapping[str, Mapping[str, Verifier]]) -> None:
        """Take the keys of all clients. Raises ValueError for a client without any key."""
        for client_id, versions in keys.items():
            if not versions:
                raise ValueError(
                    f"client {shown(client_id)} has no public key: configure at least one version"
                )
        self._keys = {client_id: dict(versions) for client_id, versions in keys.items()}
        self._newest = {client_id: _newest(list(versions)) for client_id, versions in self._keys.items()}

    def find(self, client_id: str, version: str | None = None) -> tuple[str, Verifier]:
        """Return the version and the key that a message names. Raises UnknownClient or UnknownKey."""
        versions = self._keys.get(client_id)
        if versions is None:
            raise UnknownClient(
                f"no public key is on file for client id {shown(client_id)}: check it and its key files"
            )
        wanted = self._newest[client_id] if version is None else version
        key = versions.get(wanted)
        if key is None:
            raise UnknownKey(
                f"client {shown(client_id)} has no public key of version {shown(wanted)} on file "
                f"(there are: {', '.join(versions)}): add that version's key file"
            )
        return wanted, key


def _newest(versions: list[str]) -> str:
    ranked = [
        (int(version) if version.isascii() and version.isdigit() else -1, listed, version)
        for listed, version in enumerate(versions)
    ]
    return max(ranked)[2]
