"""Properties of both readers: nothing but a SignatureError comes out, and nothing false is accepted."""

from __future__ import annotations

import binascii
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.signing import (
    Hash,
    Member,
    PublicKeys,
    SignatureError,
    Signer,
    read_envelope,
    sign_envelope,
    sign_request,
    verify_envelope,
    verify_request,
    verify_response,
)

pytestmark = pytest.mark.promise("P9")

CLIENT = "C"
BODY = b'{"a":1}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
header_text = st.text(alphabet="algorithm=RSA256, keyVersion=1signature%2B+/-_\t\xe9", max_size=80)


@pytest.fixture(scope="module")
def keys(signer: Signer) -> PublicKeys:
    """Put the throw-away key on file."""
    return PublicKeys({CLIENT: {"1": signer.verifier}})


@given(
    client=st.binary(max_size=20),
    time=st.binary(max_size=20),
    signature=st.binary(max_size=80),
    body=st.binary(),
)
def test_arbitrary_headers_never_crash_and_never_verify(
    keys: PublicKeys, client: bytes, time: bytes, signature: bytes, body: bytes
) -> None:
    """Arbitrary bytes in every header and the body end in a SignatureError, for requests and responses."""
    headers = [
        (b"Client-Id", client),
        (b"Request-Time", time),
        (b"Response-Time", time),
        (b"Signature", signature),
    ]

    with pytest.raises(SignatureError):
        verify_request(headers=headers, method="POST", path="/", body=body, keys=keys)
    with pytest.raises(SignatureError):
        verify_response(headers=headers, method="POST", path="/", client_id=CLIENT, body=body, keys=keys)


@given(value=header_text, raw=st.binary(min_size=256, max_size=256), path=st.text(max_size=8))
@example(value="algorithm=RSA256, signature=%", raw=bytes(256), path="/")
def test_plausible_headers_never_crash_and_never_verify(
    keys: PublicKeys, value: str, raw: bytes, path: str
) -> None:
    """Nearly right headers, and right ones with 256 random bytes as signature, end in a SignatureError."""
    coded = binascii.b2a_base64(raw, newline=False).decode()
    for header in (
        value,
        f"algorithm=RSA256,signature={coded}",
        f"algorithm=RSA256,{value},signature={coded}",
    ):
        with pytest.raises(SignatureError):
            verify_request(
                headers=[
                    (b"client-id", CLIENT.encode()),
                    (b"request-time", b"1"),
                    (b"signature", header.encode("latin-1")),
                ],
                method="POST",
                path=path,
                body=BODY,
                keys=keys,
            )


@settings(max_examples=40)
@given(at=st.integers(0, 255), mask=st.integers(1, 255))
def test_no_changed_signature_verifies(keys: PublicKeys, signer: Signer, at: int, mask: int) -> None:
    """A genuine signature with any one byte changed is refused in both schemes."""
    signature = bytearray(signer.sign(b"POST /\nC.1." + BODY))
    signature[at] ^= mask
    coded = binascii.b2a_base64(signature, newline=False)
    headers = [
        (b"client-id", CLIENT.encode()),
        (b"request-time", b"1"),
        (b"signature", b"algorithm=RSA256,signature=" + coded),
    ]

    with pytest.raises(SignatureError):
        verify_request(headers=headers, method="POST", path="/", body=BODY, keys=keys)

    inner = bytearray(signer.sign(BODY))
    inner[at] ^= mask
    message = b'{"request":%s,"signature":"%s"}' % (BODY, binascii.b2a_base64(inner, newline=False))
    with pytest.raises(SignatureError):
        verify_envelope(
            read_envelope(message, member=Member.REQUEST), client_id=CLIENT, keys=keys, using=Hash.SHA256
        )


@settings(max_examples=40)
@given(body=st.binary(max_size=200), time=st.from_regex(r"\A[0-9A-Za-z:+.\-]{1,40}\Z"))
def test_every_signed_request_verifies(keys: PublicKeys, signer: Signer, body: bytes, time: str) -> None:
    """Whatever body and time are signed, the same ones verify."""
    header = sign_request(signer, method="POST", path="/p", client_id=CLIENT, time=time, body=body)
    headers = [
        (b"Client-Id", CLIENT.encode()),
        (b"Request-Time", time.encode()),
        (b"Signature", header.encode()),
    ]

    assert verify_request(headers=headers, method="POST", path="/p", body=body, keys=keys).time == time


@given(
    message=st.binary(max_size=200)
    | st.text(alphabet='{}[]",:\\ request signature 1', max_size=80).map(str.encode)
)
def test_arbitrary_envelopes_never_crash_and_never_verify(keys: PublicKeys, message: bytes) -> None:
    """Arbitrary bytes, and texts made of an envelope's own characters, end in a SignatureError."""
    for member in Member:
        with pytest.raises(SignatureError):
            verify_envelope(
                read_envelope(message, member=member),
                client_id=CLIENT,
                keys=keys,
                using=Hash.SHA256,
                either=True,
            )


@given(
    inner=st.dictionaries(st.text(), json_values, max_size=4),
    others=st.dictionaries(st.text().filter(lambda name: name not in {"request", "signature"}), json_values),
    order=st.randoms(use_true_random=False),
    style=st.sampled_from([(",", ":"), (" ,\n", "\t: ")]),
    escape=st.booleans(),
)
def test_scanner_agrees_with_a_json_parser(
    inner: dict[str, Any], others: dict[str, Any], order: Any, style: tuple[str, str], *, escape: bool
) -> None:
    """For every JSON object with both members the scanner finds the values that a JSON parser finds."""
    members = [("request", inner), ("signature", 'QQ/"\\=='), *others.items()]
    order.shuffle(members)
    text = json.dumps(dict(members), separators=style, ensure_ascii=escape)

    envelope = read_envelope(text.encode("utf-8", "surrogatepass"), member=Member.REQUEST)

    assert json.loads(envelope.inner.decode("utf-8", "surrogatepass")) == inner
    assert envelope.signature == 'QQ/"\\=='
    assert envelope.inner.decode("utf-8", "surrogatepass") in text


@settings(max_examples=40)
@given(
    inner=st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), json_values, max_size=4)
)
def test_every_signed_envelope_verifies(keys: PublicKeys, signer: Signer, inner: dict[str, Any]) -> None:
    """Whatever object is put into an envelope comes out byte for byte, and verifies."""
    text = json.dumps(inner).encode()
    message = sign_envelope(signer, text, member=Member.RESPONSE, using=Hash.SHA1)
    envelope = read_envelope(message, member=Member.RESPONSE)

    assert envelope.inner == text
    assert verify_envelope(envelope, client_id=CLIENT, keys=keys, using=Hash.SHA1) is Hash.SHA1


@given(cut=st.integers(0, 400), junk=st.binary(min_size=1, max_size=4))
def test_cut_or_lengthened_envelopes_are_refused(
    signer: Signer, keys: PublicKeys, cut: int, junk: bytes
) -> None:
    """An envelope cut anywhere, or with anything but blanks behind it, is refused."""
    message = sign_envelope(signer, BODY, member=Member.REQUEST, using=Hash.SHA256)

    with pytest.raises(SignatureError):
        read_envelope(message[: min(cut, len(message) - 1)], member=Member.REQUEST)
    if junk.strip(b" \t\r\n"):
        with pytest.raises(SignatureError):
            read_envelope(message + junk, member=Member.REQUEST)
    else:
        assert verify_envelope(
            read_envelope(message + junk, member=Member.REQUEST),
            client_id=CLIENT,
            keys=keys,
            using=Hash.SHA256,
        )
