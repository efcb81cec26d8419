"""Keys: every accepted form, a clear refusal of everything else, and which key a message means."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from worker.signing import (
    Hash,
    KeyPasswordWrong,
    KeyTooSmall,
    KeyUnreadable,
    KeyUnusable,
    PublicKeys,
    SelfTestFailed,
    Signer,
    UnknownClient,
    UnknownKey,
    Verifier,
    load_signer,
    load_verifier,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
PKCS8 = serialization.PrivateFormat.PKCS8
OPENSSH = serialization.PrivateFormat.OpenSSH
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
OPEN = serialization.NoEncryption()
PASSWORD = b"opensesame"
LOCKED = serialization.BestAvailableEncryption(PASSWORD)


def _lines(text: bytes) -> bytes:
    return b"\r\n".join(text[start : start + 64] for start in range(0, len(text), 64)) + b"\r\n"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key: key.private_bytes(PEM, PKCS1, OPEN), id="PKCS#1 PEM"),
        pytest.param(lambda key: key.private_bytes(PEM, PKCS8, OPEN), id="PKCS#8 PEM"),
        pytest.param(lambda key: b"\xef\xbb\xbf" + key.private_bytes(PEM, PKCS8, OPEN), id="byte-order mark"),
        pytest.param(
            lambda key: key.private_bytes(PEM, PKCS8, OPEN).replace(b"\n", b"\r\n"), id="Windows line ends"
        ),
        pytest.param(lambda key: b"a remark\n" + key.private_bytes(PEM, PKCS8, OPEN), id="remark before"),
        pytest.param(lambda key: base64.b64encode(key.private_bytes(DER, PKCS8, OPEN)), id="bare PKCS#8"),
        pytest.param(lambda key: base64.b64encode(key.private_bytes(DER, PKCS1, OPEN)), id="bare PKCS#1"),
        pytest.param(
            lambda key: _lines(base64.b64encode(key.private_bytes(DER, PKCS8, OPEN))), id="bare, in lines"
        ),
        pytest.param(lambda key: key.private_bytes(DER, PKCS8, OPEN), id="DER"),
    ],
)
def test_private_keys_are_read_in_every_form(
    private_key: rsa.RSAPrivateKey, signer: Signer, write: Callable[[rsa.RSAPrivateKey], bytes]
) -> None:
    """Each accepted form of one private key gives the same signatures."""
    assert load_signer(write(private_key), source="key").sign(b"x") == signer.sign(b"x")


@pytest.mark.parametrize("encoding", [PEM, DER])
def test_encrypted_keys_need_their_password(
    private_key: rsa.RSAPrivateKey, signer: Signer, encoding: serialization.Encoding
) -> None:
    """An encrypted key opens with its password; without it or with another one the message says which."""
    content = private_key.private_bytes(encoding, PKCS8, LOCKED)

    assert load_signer(content, source="key", password=PASSWORD).sign(b"x") == signer.sign(b"x")
    with pytest.raises(KeyPasswordWrong, match="key\\.pem: the key is encrypted"):
        load_signer(content, source="key.pem")
    with pytest.raises(KeyPasswordWrong, match="does not open") as caught:
        load_signer(content, source="key.pem", password=PASSWORD + b"\n")
    assert PASSWORD.decode() not in str(caught.value)


def test_password_for_an_open_key_is_refused(private_key: rsa.RSAPrivateKey) -> None:
    """A password for a key that is not encrypted is a mistake that is told, not ignored."""
    with pytest.raises(KeyPasswordWrong, match="not encrypted"):
        load_signer(private_key.private_bytes(PEM, PKCS8, OPEN), source="key", password=b"x")


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key: key.public_bytes(PEM, SPKI), id="PEM"),
        pytest.param(lambda key: key.public_bytes(PEM, serialization.PublicFormat.PKCS1), id="PKCS#1 PEM"),
        pytest.param(lambda key: base64.b64encode(key.public_bytes(DER, SPKI)), id="bare"),
        pytest.param(lambda key: _lines(base64.b64encode(key.public_bytes(DER, SPKI))), id="bare, in lines"),
        pytest.param(lambda key: key.public_bytes(DER, SPKI), id="DER"),
    ],
)
def test_public_keys_are_read_in_every_form(
    private_key: rsa.RSAPrivateKey, signer: Signer, write: Callable[[rsa.RSAPublicKey], bytes]
) -> None:
    """Each accepted form of one public key accepts its signatures and has the same fingerprint."""
    loaded = load_verifier(write(private_key.public_key()), source="key")

    assert loaded.fits(signer.sign(b"x"), b"x")
    assert not loaded.fits(signer.sign(b"x"), b"y")
    assert loaded.fingerprint == signer.verifier.fingerprint
    assert loaded.signature_bytes == 256


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        not_valid_after=dt.datetime(2035, 1, 1, tzinfo=dt.UTC),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM)


def _wrong_files(key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    curve = ec.generate_private_key(ec.SECP256R1())
    return {
        "empty": b"",
        "blank": b" \n",
        "text": b"no key at all",
        "base64 of text": base64.b64encode(b"no key at all"),
        "json": b'{"key": "x"}',
        "cut PEM": key.private_bytes(PEM, PKCS8, OPEN)[:800],
        "cut bare": base64.b64encode(key.private_bytes(DER, PKCS8, OPEN))[:800],
        "cut DER": key.private_bytes(DER, PKCS8, OPEN)[:800],
        "junk PEM": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "junk public PEM": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "curve": curve.private_bytes(PEM, PKCS8, OPEN),
        "public curve": curve.public_key().public_bytes(PEM, SPKI),
        "certificate": _certificate(key),
        "request": b"-----BEGIN NEW THING-----\nAAAA\n-----END NEW THING-----\n",
    }


def test_other_files_are_no_private_keys(private_key: rsa.RSAPrivateKey) -> None:
    """A file that is no RSA private key is refused, by name and without any of its content."""
    wrong = _wrong_files(private_key) | {
        "public": private_key.public_key().public_bytes(PEM, SPKI),
        "bare public": base64.b64encode(private_key.public_key().public_bytes(DER, SPKI)),
        "openssh": private_key.private_bytes(PEM, OPENSSH, OPEN),
    }
    for content in wrong.values():
        with pytest.raises(KeyUnreadable, match=r"^hub\.pem: ") as caught:
            load_signer(content, source="hub.pem")
        assert not any(line in str(caught.value).encode() for line in content.split() if len(line) > 30)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_other_files_are_no_public_keys(private_key: rsa.RSAPrivateKey) -> None:
    """A file that is no RSA public key is refused, a private key among them."""
    wrong = _wrong_files(private_key) | {
        "private": private_key.private_bytes(PEM, PKCS8, OPEN),
        "private 1": private_key.private_bytes(PEM, PKCS1, OPEN),
        "bare private": base64.b64encode(private_key.private_bytes(DER, PKCS8, OPEN)),
    }
    for content in wrong.values():
        with pytest.raises(KeyUnreadable, match=r"^hub\.pem: ") as caught:
            load_verifier(content, source="hub.pem")
        assert not any(line in str(caught.value).encode() for line in content.split() if len(line) > 30)


@pytest.mark.parametrize(
    ("label", "advice"),
    [
        (b"CERTIFICATE", "openssl x509 -pubkey"),
        (b"RSA PRIVATE KEY", "private key stands where a public key belongs"),
        (b"OPENSSH PRIVATE KEY", "ssh-keygen -p -m PKCS8"),
    ],
)
def test_the_wrong_one_of_two_files_is_named(label: bytes, advice: str) -> None:
    """A well-known file of another kind is refused with the command that makes the right one of it."""
    with pytest.raises(KeyUnreadable, match=advice):
        load_verifier(b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n" % (label, label), source="x")


def test_small_keys_are_refused() -> None:
    """A 1024-bit key is refused in both halves, and the message says what is needed."""
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused

    with pytest.raises(KeyTooSmall, match=r"key\.pem: .* 1024 bits; 2048"):
        load_signer(small.private_bytes(PEM, PKCS8, OPEN), source="key.pem")
    with pytest.raises(KeyTooSmall, match=r"key\.pem: .* 1024 bits; 2048"):
        load_verifier(small.public_key().public_bytes(PEM, SPKI), source="key.pem")
    assert issubclass(KeyTooSmall, KeyUnusable)


def test_larger_keys_sign_longer_signatures() -> None:
    """A 3072-bit key is accepted; its signatures have 384 bytes."""
    signer = Signer(rsa.generate_private_key(public_exponent=65537, key_size=3072))

    assert len(signer.sign(b"x")) == signer.verifier.signature_bytes == 384


def test_newest_key_is_the_highest_number(signer: Signer, vector_key: Verifier) -> None:
    """Without a named version the highest number is meant, not the last in the file nor in the alphabet."""
    old, new = signer.verifier, vector_key
    keys = PublicKeys({"C": {"9": old, "10": new, "2": old, "next": old}})

    assert keys.find("C") == ("10", new)
    assert keys.find("C", "9") == ("9", old)
    assert PublicKeys({"C": {"b": old, "a": new}}).find("C") == ("a", new)


def test_keys_are_found_by_their_exact_names(signer: Signer) -> None:
    """Client id and version are compared as text: no other case, no blanks, no leading zero."""
    keys = PublicKeys({"C": {"1": signer.verifier}})

    for client_id in ("c", "C ", ""):
        with pytest.raises(UnknownClient):
            keys.find(client_id)
    for version in ("01", "2", "", "1 "):
        with pytest.raises(UnknownKey):
            keys.find("C", version)


def test_client_without_keys_is_refused_at_start() -> None:
    """A client with an empty list of keys is a mistake of configuration that shows at once."""
    with pytest.raises(ValueError, match="no public key"):
        PublicKeys({"C": {}})


@pytest.mark.parametrize("using", Hash)
def test_key_proves_that_it_can_sign(signer: Signer, using: Hash) -> None:
    """A key that signs with a hash on this machine passes its proof in silence."""
    signer.prove(using=using)


def test_key_that_cannot_sign_fails_its_proof(private_key: rsa.RSAPrivateKey, vector_key: Verifier) -> None:
    """A key whose signatures do not verify is reported at start-up, with the hash that fails."""

    class Crossed(Signer):
        """A signer with another key's public half."""

    crossed = Crossed(private_key)
    crossed.verifier = vector_key

    with pytest.raises(SelfTestFailed, match="SHA1withRSA"):
        crossed.prove(using=Hash.SHA1)


def test_reprs_show_no_key(signer: Signer) -> None:
    """The repr of a prepared key shows nothing of it."""
    assert len(repr(signer)) < 100
    assert not dataclasses.is_dataclass(signer)
    assert len(repr(PublicKeys({"C": {"1": signer.verifier}}))) < 100
