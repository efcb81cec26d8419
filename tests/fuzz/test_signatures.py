"""Signed messages and key files, changed in any place: what verifies is what was signed, and nothing else."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import strategies as st

from tests.fuzz.doors import door
from tests.fuzz.grammar import torn
from worker.signing import (
    Hash,
    KeyUnusable,
    Member,
    PublicKeys,
    SignatureError,
    Signer,
    load_signer,
    load_verifier,
    read_envelope,
    sign_envelope,
    sign_request,
    sign_response,
    verify_envelope,
    verify_request,
    verify_response,
)

if TYPE_CHECKING:
    from tests.fuzz.grammar import Draw

pytestmark = [
    pytest.mark.promise("P9"),
    pytest.mark.fault("signed messages and key files changed in any place"),
]

CLIENT: Final = "WALLETCLIENT000001"
PATH: Final = "/aps/api/v1/authorizations/consultUnbinding"
TIME: Final = "2025-11-23T03:00:01+00:00"
BODY: Final = b'{"n":"a.b","result":{"resultStatus":"S","resultCode":"SUCCESS"},"allowUnbinding":true}'
PASSWORD: Final = b"fuzz-password"


@functools.cache
def key() -> rsa.RSAPrivateKey:
    """Return the key that all messages here are signed with."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def keys() -> PublicKeys:
    """Return the key under two versions, and a stranger's under another client."""
    stranger = Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    own = Signer(key()).verifier
    return PublicKeys({CLIENT: {"1": own, "2": stranger.verifier}, "OTHER": {"1": stranger.verifier}})


@functools.cache
def genuine(kind: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of a right request or response."""
    sign = sign_request if kind == "Request" else sign_response
    value = sign(Signer(key()), method="POST", path=PATH, client_id=CLIENT, time=TIME, body=BODY)
    return (
        (b"Client-Id", CLIENT.encode()),
        (f"{kind}-Time".encode(), TIME.encode()),
        (b"Signature", value.encode()),
    )


@st.composite
def _altered(draw: Draw, kind: str) -> tuple[list[tuple[bytes, bytes]], str, str, bytes]:
    """Return headers, method, path and body of a message that was right, with one or two things changed."""
    headers, method, path, body = list(genuine(kind)), "POST", PATH, BODY
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(headers) - 1)) if headers else 0
        match draw(
            st.sampled_from(("value", "drop", "twice", "case", "body", "path", "method", "more", "move"))
        ):
            case "value" if headers:
                headers[at] = (headers[at][0], draw(torn(headers[at][1])))
            case "drop" if headers:
                del headers[at]
            case "twice" if headers:
                headers.append((headers[at][0], draw(st.just(headers[at][1]) | st.binary(max_size=9))))
            case "case" if headers:
                headers[at] = (headers[at][0].swapcase(), headers[at][1])
            case "body":
                body = draw(torn(body))
            case "path":
                path = draw(torn(path.encode())).decode("latin-1")
            case "method":
                method = draw(st.sampled_from(("GET", "post", "POST ", "", "PUT")))
            case "more":
                headers.append((draw(st.binary(max_size=9)), draw(st.binary(max_size=9))))
            case "move":
                # The joint between time and body: what one loses the other gains.
                gained, parted, rest = body.partition(b".")
                headers = [(n, v + b"." + gained if n.endswith(b"-Time") else v) for n, v in headers]
                body = rest if parted else body
    return headers, method, path, body


@door("signatures", examples=400, message=_altered("Response"))
def test_a_response_that_verifies_is_the_one_that_was_signed(
    message: tuple[list[tuple[bytes, bytes]], str, str, bytes],
) -> None:
    """Method, path, client, time and body are signed; header case, order and other headers may change."""
    headers, method, path, body = message
    try:
        found = verify_response(
            headers=headers, method=method, path=path, client_id=CLIENT, body=body, keys=keys()
        )
    except SignatureError as refusal:
        _check_text(refusal)
        return
    assert (method, path, body) == ("POST", PATH, BODY)
    assert (found.client_id, found.time, found.key_version) == (CLIENT, TIME, "1")


@door("signatures", examples=300, message=_altered("Request"))
def test_a_request_that_verifies_is_the_one_that_was_signed(
    message: tuple[list[tuple[bytes, bytes]], str, str, bytes],
) -> None:
    """As for responses; the client id is the header's own."""
    headers, method, path, body = message
    try:
        found = verify_request(headers=headers, method=method, path=path, body=body, keys=keys())
    except SignatureError as refusal:
        _check_text(refusal)
        return
    assert (method, path, body) == ("POST", PATH, BODY)
    assert (found.client_id, found.time) == (CLIENT, TIME)


@functools.cache
def envelope() -> bytes:
    """Return a right envelope."""
    return sign_envelope(Signer(key()), BODY, member=Member.RESPONSE, using=Hash.SHA256)


@st.composite
def _altered_envelope(draw: Draw) -> bytes:
    raw = envelope()
    match draw(st.sampled_from(("torn", "twice", "more", "spaced", "order", "nested"))):
        case "twice":
            forged = draw(
                st.sampled_from((b'"response":{"a":1},', b'"respons\\u0065":{},', b'"signature":"",'))
            )
            raw = b"{" + forged + raw[1:] if draw(st.booleans()) else raw[:-1] + b"," + forged[:-1] + b"}"
        case "more":
            raw = raw[:-1] + b',"extra":' + json.dumps(draw(st.text(max_size=9))).encode() + b"}"
        case "spaced":
            raw = b" \n" + raw.replace(b'":', b'" :\t') + b"\r\n"
        case "order":
            content = json.loads(raw)
            raw = b'{"signature":"%s","response":%s}' % (content["signature"].encode(), BODY)
        case "nested":
            raw = b'{"response":%s,"signature":%s}' % (raw, json.dumps(json.loads(raw)["signature"]).encode())
    return draw(torn(raw))


@door("signatures", examples=500, raw=_altered_envelope())
def test_an_envelope_that_verifies_holds_what_was_signed(raw: bytes) -> None:
    """Only the inner text is signed; blanks, order and other members may change, never what is read."""
    for member in Member:
        try:
            found = read_envelope(raw, member=member)
            verify_envelope(found, client_id=CLIENT, keys=_first(), using=Hash.SHA256, either=True)
        except SignatureError as refusal:
            _check_text(refusal)
            continue
        assert found.inner == BODY
        # A JSON parser must see the same member: nobody can show us one text and the parser another.
        assert json.loads(raw)[member.value] == json.loads(BODY)


@functools.cache
def _first() -> PublicKeys:
    return PublicKeys({CLIENT: {"1": Signer(key()).verifier}})


def _check_text(refusal: Exception) -> None:
    text = str(refusal)
    assert text
    assert text.isprintable(), ascii(text)
    assert len(text) < 600


@functools.cache
def _forms() -> dict[str, bytes]:
    private, public = key(), key().public_key()
    no, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(PASSWORD)
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    pkcs8, pkcs1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "pkcs8": private.private_bytes(pem, pkcs8, no),
        "pkcs1": private.private_bytes(pem, pkcs1, no),
        "locked": private.private_bytes(pem, pkcs8, locked),
        "der": private.private_bytes(der, pkcs8, no),
        "base64": base64.b64encode(private.private_bytes(der, pkcs8, no)),
        "public": public.public_bytes(pem, spki),
        "public der": public.public_bytes(der, spki),
        "public base64": base64.encodebytes(public.public_bytes(der, spki)),
        "empty": b"",
        "bom": b"\xef\xbb\xbf" + public.public_bytes(pem, spki),
        "utf-16": public.public_bytes(pem, spki).decode().encode("utf-16"),
        "other pem": b"-----BEGIN X-----\nAAAA\n-----END X-----\n",
        "certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "ssh": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    }


@door(
    "signatures",
    examples=250,
    form=st.sampled_from(
        (
            "pkcs8",
            "pkcs1",
            "locked",
            "der",
            "base64",
            "public",
            "public der",
            "public base64",
            "empty",
            "bom",
            "utf-16",
            "other pem",
            "certificate",
            "ssh",
        )
    ),
    password=st.sampled_from((None, b"", b"wrong", PASSWORD, PASSWORD + b"\n", b"\x00")),
    data=st.data(),
)
def test_a_changed_key_file_is_used_or_refused_clearly(form: str, password: bytes | None, data: Any) -> None:
    """A key file of any content gives a key, or one text that names the file and shows nothing of it."""
    content = data.draw(torn(_forms()[form]))
    for load in (
        lambda: load_signer(content, source="hub.pem", password=password),
        lambda: load_verifier(content, source="hub.pem"),
    ):
        try:
            load()
        except KeyUnusable as refusal:
            text = str(refusal)
            assert text.startswith("hub.pem: ")
            _check_text(refusal)
            told = text.encode()
            lines = [line for line in content.split(b"\n") if len(line) > 30]
            assert not any(line[:30] in told for line in lines)
            assert binascii.hexlify(content[:16]) not in told or not content
            assert PASSWORD not in told
