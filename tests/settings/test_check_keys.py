"""The keys of counterparts are read by the check as the start of the worker reads them."""

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.settings.checking import PASSWORD, Pairs, found, only, private_pem, public_bytes
from worker.settings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = "counterparts.hub.private_key_file"
THEIRS = "counterparts.hub.public_key_files[1]"


def put(directory: Path, content: bytes | str, name: str = "given") -> str:
    """Write a file for its owner alone, and return its path."""
    path = directory / name
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    """Make a certificate of a key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "counterpart.example")])
    begin = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
    built = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=begin,
        not_valid_after=begin + dt.timedelta(days=1),
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("small", "1024 bits"),
        ("not RSA", "not an RSA key"),
        ("public", "public key stands where a private key belongs"),
        ("junk", "no private key that can be read"),
        ("locked", "configure its password file"),
    ],
)
def test_a_private_key_that_cannot_be_used_is_an_error(
    environ: dict[str, str], tmp_path: Path, pairs: Pairs, kind: str, says: str
) -> None:
    """A private key that the start would refuse is refused by the check, with the same words and the file."""
    made: dict[str, Callable[[], bytes]] = {
        "small": lambda: private_pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
        "not RSA": lambda: private_pem(ec.generate_private_key(ec.SECP256R1())),
        "public": lambda: public_bytes(pairs.ours.public_key()),
        "junk": lambda: b"-----BEGIN PRIVATE KEY-----\nc3ludGhldGlj\n-----END PRIVATE KEY-----\n",
        "locked": lambda: private_pem(pairs.ours, PASSWORD),
    }
    path = put(tmp_path, made[kind]())
    finding = only(environ, COUNTERPARTS__HUB__PRIVATE_KEY_FILE=path)
    assert (finding.severity, finding.name) == (Severity.ERROR, OWN)
    assert says in finding.what
    assert path in finding.what
    assert finding.origin == "UNBINDING_COUNTERPARTS__HUB__PRIVATE_KEY_FILE"


@pytest.mark.parametrize(
    ("encrypted", "text", "name", "says"),
    [
        (True, "wrong\n", OWN, "does not open the key"),
        (False, f"{PASSWORD}\n", OWN, "not encrypted"),
        (
            True,
            f"{PASSWORD}\n{PASSWORD}\n",
            "counterparts.hub.private_key_password_file",
            "more than one line",
        ),
        (True, " \n", "counterparts.hub.private_key_password_file", "is empty"),
    ],
)
def test_a_password_that_does_not_fit_is_an_error(
    environ: dict[str, str],
    tmp_path: Path,
    pairs: Pairs,
    *,
    encrypted: bool,
    text: str,
    name: str,
    says: str,
) -> None:
    """A password that is wrong, not needed or no single line is an error that does not show it."""
    key = private_pem(pairs.ours, PASSWORD if encrypted else None)
    finding = only(
        environ,
        COUNTERPARTS__HUB__PRIVATE_KEY_FILE=put(tmp_path, key),
        COUNTERPARTS__HUB__PRIVATE_KEY_PASSWORD_FILE=put(tmp_path, text, "password"),
    )
    assert (finding.severity, finding.name) == (Severity.ERROR, name)
    assert says in finding.what
    assert PASSWORD not in repr(finding)


def test_an_encrypted_key_and_its_password_are_right(
    environ: dict[str, str], tmp_path: Path, pairs: Pairs
) -> None:
    """An encrypted key with its password has nothing to find."""
    key = put(tmp_path, private_pem(pairs.ours, PASSWORD))
    password = put(tmp_path, f"{PASSWORD}\n", "password")
    section = "UNBINDING_COUNTERPARTS__HUB__PRIVATE_KEY"
    assert found(environ | {f"{section}_FILE": key, f"{section}_PASSWORD_FILE": password}) == {}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("small", "1024 bits"),
        ("not RSA", "not an RSA key"),
        ("private", "private key stands where a public key belongs"),
        ("certificate", "openssl x509 -pubkey"),
        ("junk", "this is no key"),
        ("ours", "our own public key"),
    ],
)
def test_a_public_key_that_cannot_be_used_is_an_error(
    environ: dict[str, str], tmp_path: Path, pairs: Pairs, kind: str, says: str
) -> None:
    """A counterpart's key that the start would refuse, or that is our own, is an error."""
    assert isinstance(pairs.theirs, rsa.RSAPrivateKey)
    theirs = pairs.theirs
    made: dict[str, Callable[[], bytes]] = {
        "small": lambda: public_bytes(rsa.generate_private_key(65537, 1024).public_key()),  # noqa: S505
        "not RSA": lambda: public_bytes(ec.generate_private_key(ec.SECP256R1()).public_key()),
        "private": lambda: private_pem(theirs),
        "certificate": lambda: certificate(theirs),
        "junk": lambda: b"synthetic",
        "ours": lambda: public_bytes(pairs.ours.public_key()),
    }
    path = put(tmp_path, made[kind]())
    finding = only(environ, COUNTERPARTS__HUB__PUBLIC_KEY_FILES=json.dumps({"1": path}))
    assert (finding.severity, finding.name) == (Severity.ERROR, THEIRS)
    assert says in finding.what
    assert path in finding.what
    assert finding.origin == "UNBINDING_COUNTERPARTS__HUB__PUBLIC_KEY_FILES"


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_all_forms_that_the_start_reads_are_right(
    environ: dict[str, str], tmp_path: Path, pairs: Pairs, encoding: Encoding
) -> None:
    """A key as DER, or as Base64 without the lines of PEM around it, has nothing to find."""
    content = public_bytes(pairs.theirs.public_key(), encoding)
    if encoding is Encoding.PEM:
        content = b"".join(line for line in content.splitlines() if b"-----" not in line)
    files = json.dumps({"1": put(tmp_path, content)})
    assert found(environ | {"UNBINDING_COUNTERPARTS__HUB__PUBLIC_KEY_FILES": files}) == {}


def test_one_key_under_two_versions_is_told(environ: dict[str, str], tmp_path: Path, pairs: Pairs) -> None:
    """The same public key under two versions is a warning that names both."""
    again = put(tmp_path, public_bytes(pairs.theirs.public_key(), Encoding.DER))
    files = {"1": str(tmp_path / "public.pem"), "2": again}
    finding = only(environ, COUNTERPARTS__HUB__PUBLIC_KEY_FILES=json.dumps(files))
    assert (finding.severity, finding.name) == (
        Severity.WARNING,
        "counterparts.hub.public_key_files[2]",
    )
    assert "version 1" in finding.what


def test_a_key_that_all_can_read_is_told(environ: dict[str, str], tmp_path: Path, pairs: Pairs) -> None:
    """A private key, or a password, that every user of the machine can read is a warning."""
    key, password = put(tmp_path, private_pem(pairs.ours, PASSWORD)), put(tmp_path, PASSWORD, "password")
    section = "UNBINDING_COUNTERPARTS__HUB__PRIVATE_KEY"
    changed = environ | {f"{section}_FILE": key, f"{section}_PASSWORD_FILE": password}
    for path in (key, password):
        Path(path).chmod(0o644)
    told = found(changed)
    assert set(told) == {OWN, "counterparts.hub.private_key_password_file"}
    assert all(finding.severity is Severity.WARNING for finding in told.values())
