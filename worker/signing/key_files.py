"""RSA keys as they come in files: PEM, bare Base64 or DER in, a prepared key or a clear refusal out."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from worker.signing.errors import KeyPasswordWrong, KeyTooSmall, KeyUnreadable
from worker.signing.keys import Signer, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable

_PEM: Final = b"-----BEGIN "
_DER_SEQUENCE: Final = b"\x30"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_PRIVATE_FORMS: Final = "PEM (PKCS#8 or PKCS#1, encrypted or not), or the Base64 or bytes of its DER form"
_PUBLIC_FORMS: Final = "PEM, or the Base64 or bytes of its DER form (X.509 SubjectPublicKeyInfo)"


def load_signer(content: bytes, *, source: str, password: bytes | None = None) -> Signer:
    """Read an RSA private key from a file's content.

    ``source`` names the file in messages. Raises KeyUnreadable, KeyPasswordWrong or KeyTooSmall; no message
    holds anything of the content or the password.
    """
    der_or_pem = _bare(content, source=source, forms=_PRIVATE_FORMS)
    _refuse_other_pem(der_or_pem, wanted=b"PRIVATE KEY", source=source)
    load = load_pem_private_key if _PEM in der_or_pem else load_der_private_key
    if password is not None and not _is_encrypted(load, der_or_pem):
        raise KeyPasswordWrong(
            f"{source}: a password is configured, but the key is not encrypted: remove the password, "
            "or encrypt the key"
        )
    try:
        key = load(der_or_pem, password)
    except TypeError:
        raise KeyPasswordWrong(f"{source}: the key is encrypted: configure its password file") from None
    except (ValueError, UnsupportedAlgorithm):
        if password is not None:
            raise KeyPasswordWrong(
                f"{source}: the password does not open the key: check the password file "
                "(a line break at its end counts), and that it belongs to this key"
            ) from None
        raise _unreadable(source, "private", _PRIVATE_FORMS) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _not_rsa(source)
    try:
        return Signer(key)
    except KeyTooSmall as error:
        raise KeyTooSmall(f"{source}: {error}") from None


def load_verifier(content: bytes, *, source: str) -> Verifier:
    """Read an RSA public key from a file's content.

    ``source`` names the file in messages. Raises KeyUnreadable or KeyTooSmall.
    """
    der_or_pem = _bare(content, source=source, forms=_PUBLIC_FORMS)
    _refuse_other_pem(der_or_pem, wanted=b"PUBLIC KEY", source=source)
    load = load_pem_public_key if _PEM in der_or_pem else load_der_public_key
    try:
        key = load(der_or_pem)
    except (ValueError, UnsupportedAlgorithm):
        raise _unreadable(source, "public", _PUBLIC_FORMS) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise _not_rsa(source)
    try:
        return Verifier(key)
    except KeyTooSmall as error:
        raise KeyTooSmall(f"{source}: {error}") from None


def _bare(content: bytes, *, source: str, forms: str) -> bytes:
    """Return PEM or DER bytes, whichever of the three forms the content has."""
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if not content.strip():
        raise KeyUnreadable(f"{source}: the file is empty; expected {forms}")
    if content.startswith(_DER_SEQUENCE) or _PEM in content:
        return content
    try:
        der = binascii.a2b_base64(b"".join(content.split()), strict_mode=True)
    except binascii.Error:
        der = b""
    if not der.startswith(_DER_SEQUENCE):
        raise KeyUnreadable(f"{source}: this is no key; expected {forms}")
    return der


def _refuse_other_pem(content: bytes, *, wanted: bytes, source: str) -> None:
    """Refuse PEM of another kind by name: the commonest mistake is the wrong one of two files."""
    if _PEM not in content:
        return
    label = content.split(_PEM, 1)[1].split(b"-----", 1)[0]
    if label.endswith(wanted) and label != b"OPENSSH PRIVATE KEY":
        return
    if label == b"OPENSSH PRIVATE KEY":
        advice = "convert it with: ssh-keygen -p -m PKCS8 -f FILE"
    elif label.endswith(b"CERTIFICATE"):
        advice = "take the public key out of it with: openssl x509 -pubkey -noout -in FILE"
    elif label.endswith(b"PRIVATE KEY"):
        advice = (
            "a private key stands where a public key belongs; make it with: openssl pkey -pubout -in FILE"
        )
    elif label.endswith(b"PUBLIC KEY"):
        advice = "a public key stands where a private key belongs; name the private key's file"
    else:
        advice = f"expected a PEM block that ends in {wanted.decode()}"
    raise KeyUnreadable(f"{source}: wrong kind of PEM file: {advice}")


def _is_encrypted(load: Callable[[bytes, bytes | None], object], content: bytes) -> bool:
    try:
        load(content, None)
    except TypeError:
        return True
    except (ValueError, UnsupportedAlgorithm):
        # Unreadable without a password: leave the judgement to the real attempt.
        return True
    return False


def _unreadable(source: str, kind: str, forms: str) -> KeyUnreadable:
    return KeyUnreadable(f"{source}: this is no {kind} key that can be read (cut off?); expected {forms}")


def _not_rsa(source: str) -> KeyUnreadable:
    return KeyUnreadable(f"{source}: the key is not an RSA key; both signature schemes need RSA")
