"""What we sign, judged by another implementation: the ``openssl`` command."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import serialization

from worker.signing import Hash, Member, Signer, load_signer, sign_envelope, sign_request, sign_response

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

DIGEST = {Hash.SHA256: "-sha256", Hash.SHA1: "-sha1"}


@pytest.fixture(scope="module")
def key_file(private_key: RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the throw-away key for OpenSSL to read."""
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def _openssl_signature(openssl: str, key_file: Path, text: bytes, using: Hash) -> bytes:
    """Let OpenSSL sign: PKCS #1 v1.5 is deterministic, so the bytes must be the same as ours."""
    done = subprocess.run(  # noqa: S603 - the command found on the PATH, fixed arguments
        [openssl, "dgst", DIGEST[using], "-sign", str(key_file)],
        input=text,
        capture_output=True,
        check=True,
        timeout=30,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/aps/api/v1/authorizations/consultUnbinding", b'{"accessToken":"tok_1"}'),
        ("POST", "/hook/x?region=hk&a=%2F", '{ "refuseReason":\n"尚有未付帳單" }'.encode()),
        ("POST", "/", b""),
        ("GET", "/x", bytes(range(256))),
    ],
)
def test_header_is_the_signature_that_openssl_makes(
    openssl: str, key_file: Path, signer: Signer, *, method: str, path: str, body: bytes
) -> None:
    """The header's value, decoded, is byte for byte OpenSSL's signature over the documented text."""
    text = b"%s %s\nCLIENT01.2025-03-01T09:15:27+08:00.%s" % (method.encode(), path.encode(), body)

    for sign in (sign_request, sign_response):
        header = sign(
            signer,
            method=method,
            path=path,
            client_id="CLIENT01",
            time="2025-03-01T09:15:27+08:00",
            body=body,
            key_version="3",
        )
        start, _, value = header.rpartition("=")
        assert start == "algorithm=RSA256, keyVersion=3, signature"
        made = base64.b64decode(unquote(value), validate=True)
        assert made == _openssl_signature(openssl, key_file, text, Hash.SHA256)


@pytest.mark.parametrize("using", Hash)
@pytest.mark.parametrize("twice", [False, True])
def test_envelope_holds_the_signature_that_openssl_makes(
    openssl: str, key_file: Path, signer: Signer, using: Hash, *, twice: bool
) -> None:
    """The envelope is the documented text around OpenSSL's own signature, Base64 once or twice."""
    inner = '{"head":{"reqMsgId":"1"},"body":{"x":"}\\" 退"}}'.encode()
    coded = base64.b64encode(_openssl_signature(openssl, key_file, inner, using))
    if twice:
        coded = base64.b64encode(coded)

    message = sign_envelope(signer, inner, member=Member.REQUEST, using=using, base64_twice=twice)

    assert message == b'{"request":' + inner + b',"signature":"' + coded + b'"}'


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["rsa", "-traditional"], id="PKCS#1"),
        pytest.param(["pkey"], id="PKCS#8"),
        pytest.param(["pkey", "-outform", "DER"], id="PKCS#8 DER"),
        pytest.param(["rsa", "-traditional", "-outform", "DER"], id="PKCS#1 DER"),
        pytest.param(
            ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:opensesame"], id="encrypted"
        ),
        pytest.param(
            ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:opensesame", "-outform", "DER"],
            id="encrypted DER",
        ),
        pytest.param(
            ["rsa", "-traditional", "-aes256", "-passout", "pass:opensesame"], id="encrypted PKCS#1"
        ),
    ],
)
def test_keys_that_openssl_writes_are_read(
    openssl: str, key_file: Path, signer: Signer, command: list[str]
) -> None:
    """A private key in each of OpenSSL's forms signs as the key that it is."""
    written = subprocess.run(  # noqa: S603 - the command found on the PATH, fixed arguments
        [openssl, *command, "-in", str(key_file)], capture_output=True, check=True, timeout=30
    ).stdout
    password = b"opensesame" if "pass:opensesame" in command else None

    loaded = load_signer(written, source="key.pem", password=password)

    assert loaded.sign(b"x") == signer.sign(b"x")
