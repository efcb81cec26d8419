"""The header scheme, held against known signatures and every change that must or must not matter."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest

from worker.signing import (
    PublicKeys,
    SignatureError,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    Signer,
    UnknownClient,
    UnknownKey,
    Verified,
    Verifier,
    load_verifier,
    parse_header,
    sign_request,
    sign_response,
    signing_text,
    verify_request,
    verify_response,
)

pytestmark = pytest.mark.promise("P9")

Vectors = dict[str, dict[str, Any]]

CLIENT = "WALLETCLIENT000001"
PATH = "/aps/api/v1/authorizations/consultUnbinding"


def verify(vector: dict[str, Any], keys: PublicKeys, **changed: Any) -> Verified:
    """Verify a vector as a received request, with some of its parts exchanged."""
    parts = vector | {"header": vector.get("signatureHeader")} | changed
    body = parts["body"]
    headers = (
        (b"Client-Id", parts["clientId"].encode()),
        (b"Request-Time", parts["time"].encode()),
        (b"Signature", parts["header"].encode()),
    )
    return verify_request(
        headers=headers,
        method=parts["method"],
        path=parts["path"],
        body=body if isinstance(body, bytes) else body.encode(),
        keys=keys,
    )


@pytest.mark.parametrize("name", ["A1", "A2", "A3", "P1"])
def test_signing_text_is_the_vectors_text(vectors: Vectors, name: str) -> None:
    """The signing text of every vector is reproduced byte for byte."""
    vector = vectors[name]

    text = signing_text(
        method=vector["method"],
        path=vector["path"],
        client_id=vector["clientId"],
        time=vector["time"],
        body=vector["body"].encode(),
    )

    assert text == vector["message"].encode()
    assert len(text) == vector["messageBytes"]
    assert hashlib.sha256(text).hexdigest() == vector["messageSha256Hex"]


@pytest.mark.parametrize("name", ["A1", "A2", "A3"])
def test_known_signatures_are_accepted(vectors: Vectors, vector_keys: PublicKeys, name: str) -> None:
    """Each of our own vectors verifies, and says who signed it, with which key, and when."""
    vector = vectors[name]

    assert verify(vector, vector_keys) == Verified(client_id=CLIENT, key_version="1", time=vector["time"])


def test_public_vector_is_accepted(vectors: Vectors) -> None:
    """The one vector that others published verifies, its plain Base64 included."""
    vector = vectors["P1"]
    key = load_verifier(vector["publicKeySpkiBase64"].encode(), source="P1")
    keys = PublicKeys({vector["clientId"]: {"2": key}})

    verified = verify(
        vector, keys, header=f"algorithm=RSA256,keyVersion=2,signature={vector['signatureBase64']}"
    )

    assert verified.time == "2022-01-18T07:11:42Z"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"method": "post"}, id="method in lower case"),
        pytest.param({"method": "PUT"}, id="other method"),
        pytest.param({"path": PATH.removeprefix("/")}, id="no leading slash"),
        pytest.param({"path": PATH + "/"}, id="trailing slash"),
        pytest.param({"path": PATH + "\r"}, id="CR LF instead of LF"),
        pytest.param({"path": PATH + "?"}, id="empty query"),
        pytest.param({"time": "2025-03-01T01:15:27Z"}, id="same instant, other text"),
        pytest.param({"time": "2025-03-01T09:15:28+08:00"}, id="other instant"),
        pytest.param(
            {
                "body": '{"authClientId": "ac-7781","referenceMerchantId": "rm-0042",'
                '"accessToken": "tok_9f3c2b7e55aa4d10"}'
            },
            id="body written again with blanks",
        ),
        pytest.param({"body": ""}, id="no body"),
    ],
)
def test_changed_parts_are_refused(
    vectors: Vectors, vector_keys: PublicKeys, changed: dict[str, Any]
) -> None:
    """A1 with any signed part changed, however slightly, is refused."""
    with pytest.raises((SignatureMismatch, SignatureMalformed)):
        verify(vectors["A1"], vector_keys, **changed)


@pytest.mark.parametrize("suffix", [b"\n", b"\r\n", b" ", b"\0", b"\xef\xbb\xbf"])
def test_appended_bytes_are_refused(vectors: Vectors, vector_keys: PublicKeys, suffix: bytes) -> None:
    """A1 with a line break or any other byte after its text is refused."""
    with pytest.raises(SignatureMismatch):
        verify(vectors["A1"], vector_keys, body=vectors["A1"]["body"].encode() + suffix)


def test_carriage_return_before_the_line_feed_is_another_text(vectors: Vectors, vector_key: Verifier) -> None:
    """A1's text with CR LF is not what was signed."""
    signature = base64.b64decode(vectors["A1"]["signatureBase64"])
    text = vectors["A1"]["message"].encode()

    assert vector_key.fits(signature, text)
    assert not vector_key.fits(signature, text.replace(b"\n", b"\r\n"))
    assert not vector_key.fits(signature, text.replace(b"POST /", b"POST "))
    assert not vector_key.fits(signature, text.replace(b"POST", b"post"))


def test_header_decoded_as_a_form_is_refused(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A1's value form-decoded twice has blanks for plus signs, and is refused."""
    header = unquote_plus(unquote_plus(vectors["A1"]["signatureHeader"]))

    assert " " in header.partition("signature=")[2]
    with pytest.raises(SignatureMalformed):
        verify(vectors["A1"], vector_keys, header=header)


def test_response_is_not_verified_with_the_requests_time(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A2 checked with the time of A1, its request, is refused."""
    with pytest.raises(SignatureMismatch):
        verify(vectors["A2"], vector_keys, time=vectors["A1"]["time"])


@pytest.mark.parametrize(
    "path",
    [
        "/hook/aps/api/v1/authorizations/cancelToken",
        "/aps/api/v1/authorizations/cancelToken?region=hk",
        "/hook/aps/api/v1/authorizations/cancelToken?region=hk#",
        "/hook/aps/api/v1/authorizations/cancelToken?region=h%6b",
    ],
)
def test_another_path_than_the_callers_is_refused(
    vectors: Vectors, vector_keys: PublicKeys, path: str
) -> None:
    """A3 without its query, without the wallet's own prefix, or decoded, is refused."""
    with pytest.raises(SignatureMismatch):
        verify(vectors["A3"], vector_keys, path=path)


def _lower_hex(header: str) -> str:
    return header.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")


def _reordered(header: str) -> str:
    return ", ".join(reversed(header.split(", ")))


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(_lower_hex, id="lower-case percent hex"),
        pytest.param(lambda header: header.replace(", ", ","), id="no blanks"),
        pytest.param(lambda header: header.replace(", ", " ,\t "), id="more blanks"),
        pytest.param(_reordered, id="other order"),
        pytest.param(lambda header: header.replace("RSA256", "rsa256"), id="algorithm in lower case"),
        pytest.param(
            lambda header: header.replace("keyVersion", "keyversion"), id="item names in lower case"
        ),
        pytest.param(lambda header: header.replace("keyVersion=1, ", ""), id="no key version"),
        pytest.param(lambda header: f" {header} ", id="blanks around"),
    ],
)
def test_header_may_be_written_in_other_ways(vectors: Vectors, vector_keys: PublicKeys, write: Any) -> None:
    """A1's header in each form that official clients send is accepted."""
    header = write(vectors["A1"]["signatureHeader"])

    assert verify(vectors["A1"], vector_keys, header=header).client_id == CLIENT


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda text: text, id="plain Base64"),
        pytest.param(lambda text: text.rstrip("="), id="Base64 without padding"),
        pytest.param(lambda text: text + "=", id="Base64 with too much padding"),
        pytest.param(
            lambda text: quote(text, safe="+").replace("%2F", "%2f"), id="lower-case hex but for plus signs"
        ),
        pytest.param(lambda text: text.translate(str.maketrans("+/", "-_")).rstrip("="), id="base64url"),
        pytest.param(lambda text: text.translate(str.maketrans("+/", "-_")), id="padded base64url"),
        pytest.param(lambda text: quote(text, safe="/"), id="percent-encoded but for slashes"),
        pytest.param(lambda text: "".join(f"%{ord(digit):02x}" for digit in text), id="all percent-encoded"),
        pytest.param(lambda text: quote(text, safe="+"), id="percent-encoded but for plus signs"),
    ],
)
def test_signature_may_be_encoded_in_other_ways(
    vectors: Vectors, vector_keys: PublicKeys, encode: Any
) -> None:
    """A1's signature is accepted in every encoding that is in use."""
    header = f"algorithm=RSA256, keyVersion=1, signature={encode(vectors['A1']['signatureBase64'])}"

    assert verify(vectors["A1"], vector_keys, header=header).client_id == CLIENT


def test_header_names_are_read_without_case(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A1 with all header names in lower or upper case is accepted."""
    vector = vectors["A1"]
    for change in (bytes.lower, bytes.upper):
        headers = [
            (change(b"Client-Id"), vector["clientId"].encode()),
            (change(b"Request-Time"), vector["time"].encode()),
            (change(b"Signature"), vector["signatureHeader"].encode()),
            (b"Response-Time", b"not looked at in a request"),
        ]
        verified = verify_request(
            headers=headers, method="POST", path=PATH, body=vector["body"].encode(), keys=vector_keys
        )
        assert verified.client_id == CLIENT


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("", SignatureMalformed),
        ("RSA256", SignatureMalformed),
        ("signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, keyVersion=1", SignatureMissing),
        ("algorithm=RSA256, keyVersion=1, signature=", SignatureMissing),
        ("algorithm=ECC224, keyVersion=1, signature=QUJD", SignatureMalformed),
        ("algorithm=RSA512, keyVersion=1, signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, algorithm=RSA256, signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJD, Signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, keyVersion=, signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, keyVersion=1 2, signature=QUJD", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJ D", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJDR", SignatureMalformed),
        ("algorithm=RSA256, signature=QU==JD==", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJD%0A", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJD%", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJD%zz", SignatureMalformed),
        ("algorithm=RSA256, signature=QUJD%2520", SignatureMalformed),
        ("algorithm=RSA256, signature=é", SignatureMalformed),
    ],
)
def test_headers_that_cannot_be_read_are_refused(header: str, error: type[SignatureError]) -> None:
    """A header that is empty, doubled, of another algorithm, or not Base64 is refused by its kind."""
    with pytest.raises(error):
        parse_header(header)


@pytest.mark.parametrize("size", [0, 1, 255, 257, 344, 512])
def test_signature_has_exactly_the_keys_size(vectors: Vectors, vector_keys: PublicKeys, size: int) -> None:
    """A signature that is shorter or longer than the key is refused before any arithmetic."""
    header = f"algorithm=RSA256, keyVersion=1, signature={base64.b64encode(b'x' * size).decode()}"

    with pytest.raises((SignatureMalformed, SignatureMissing)):
        verify(vectors["A1"], vector_keys, header=header)


@pytest.mark.parametrize("absent", [b"Client-Id", b"Request-Time", b"Signature"])
def test_request_without_one_of_its_headers_is_refused(
    vectors: Vectors, vector_keys: PublicKeys, absent: bytes
) -> None:
    """A request that lacks client id, time or signature is refused, and the message names the header."""
    vector = vectors["A1"]
    headers = [
        (name, value)
        for name, value in (
            (b"Client-Id", vector["clientId"].encode()),
            (b"Request-Time", vector["time"].encode()),
            (b"Signature", vector["signatureHeader"].encode()),
        )
        if name != absent
    ]

    with pytest.raises(SignatureMissing, match=absent.decode()):
        verify_request(
            headers=headers, method="POST", path=PATH, body=vector["body"].encode(), keys=vector_keys
        )


@pytest.mark.parametrize("doubled", [b"Client-Id", b"Request-Time", b"signature"])
def test_doubled_headers_are_refused(vectors: Vectors, vector_keys: PublicKeys, doubled: bytes) -> None:
    """A request with a second signature, time or client id is refused even if both are the same."""
    vector = vectors["A1"]
    headers = [
        (b"Client-Id", vector["clientId"].encode()),
        (b"Request-Time", vector["time"].encode()),
        (b"Signature", vector["signatureHeader"].encode()),
    ]
    headers += [(name, value) for name, value in headers if name.lower() == doubled.lower()]

    with pytest.raises(SignatureMalformed, match="more than one"):
        verify_request(
            headers=headers, method="POST", path=PATH, body=vector["body"].encode(), keys=vector_keys
        )


def test_headers_that_are_not_ascii_are_refused(vector_keys: PublicKeys) -> None:
    """A header in another encoding is refused as malformed and does not crash the reader."""
    headers = [(b"Client-Id", b"\xff"), (b"Request-Time", b"x"), (b"Signature", b"\xc3\xa9")]

    with pytest.raises(SignatureMalformed, match="not ASCII"):
        verify_request(headers=headers, method="POST", path=PATH, body=b"", keys=vector_keys)


def test_unknown_client_and_unknown_key_are_told_apart(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A foreign client id and a foreign key version give the errors that the payment side tells apart."""
    header = vectors["A1"]["signatureHeader"].replace("keyVersion=1", "keyVersion=2")

    with pytest.raises(UnknownClient):
        verify(vectors["A1"], vector_keys, clientId="WALLETCLIENT000002")
    with pytest.raises(UnknownKey, match="there are: 1"):
        verify(vectors["A1"], vector_keys, header=header)


def test_named_version_is_never_replaced(vectors: Vectors, vector_key: Verifier, signer: Signer) -> None:
    """With two keys on file the named one alone is tried, and the newest where none is named."""
    keys = PublicKeys({CLIENT: {"1": vector_key, "2": signer.verifier}})
    header = vectors["A1"]["signatureHeader"]

    assert verify(vectors["A1"], keys).key_version == "1"
    with pytest.raises(SignatureMismatch):
        verify(vectors["A1"], keys, header=header.replace("keyVersion=1", "keyVersion=2"))
    with pytest.raises(SignatureMismatch):
        verify(vectors["A1"], keys, header=header.replace("keyVersion=1, ", ""))


def _response_headers(vector: dict[str, Any], client_id: str | None = CLIENT) -> list[tuple[bytes, bytes]]:
    named = [] if client_id is None else [(b"client-id", client_id.encode())]
    return [
        *named,
        (b"response-time", vector["time"].encode()),
        (b"signature", vector["signatureHeader"].encode()),
        (b"request-time", b"not looked at in a response"),
    ]


@pytest.mark.parametrize("named", [CLIENT, None])
def test_response_is_verified_with_the_requests_path(
    vectors: Vectors, vector_keys: PublicKeys, named: str | None
) -> None:
    """A2 is accepted as the response to A1, with or without a Client-Id header of its own."""
    verified = verify_response(
        headers=_response_headers(vectors["A2"], named),
        method="POST",
        path=PATH,
        client_id=CLIENT,
        body=vectors["A2"]["body"].encode(),
        keys=vector_keys,
    )

    assert verified == Verified(client_id=CLIENT, key_version="1", time="2025-03-01T09:15:28+08:00")


def test_response_for_another_client_is_refused(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A response that names another client id than the request is refused although its key is on file."""
    with pytest.raises(UnknownClient, match="HKCLIENT00000001"):
        verify_response(
            headers=_response_headers(vectors["A2"], "HKCLIENT00000001"),
            method="POST",
            path=PATH,
            client_id=CLIENT,
            body=vectors["A2"]["body"].encode(),
            keys=vector_keys,
        )


@pytest.mark.parametrize("absent", [b"response-time", b"signature"])
def test_response_without_one_of_its_headers_is_refused(
    vectors: Vectors, vector_keys: PublicKeys, absent: bytes
) -> None:
    """A response without time or signature is no answer."""
    headers = [(name, value) for name, value in _response_headers(vectors["A2"]) if name != absent]

    with pytest.raises(SignatureMissing):
        verify_response(
            headers=headers,
            method="POST",
            path=PATH,
            client_id=CLIENT,
            body=vectors["A2"]["body"].encode(),
            keys=vector_keys,
        )


def test_what_is_signed_here_verifies_here(signer: Signer) -> None:
    """A request and a response made with our key are accepted, each with its own time alone."""
    keys = PublicKeys({"C": {"7": signer.verifier}})
    parts: dict[str, Any] = {"method": "POST", "path": "/a?b=%2C", "client_id": "C", "body": b"\x00\xff"}
    request = sign_request(signer, time="2025-01-01T00:00:00Z", key_version="7", **parts)
    response = sign_response(signer, time="2025-01-01T00:00:01Z", key_version="7", **parts)

    verify_request(
        headers=[
            (b"Client-Id", b"C"),
            (b"Request-Time", b"2025-01-01T00:00:00Z"),
            (b"Signature", request.encode()),
        ],
        method="POST",
        path="/a?b=%2C",
        body=b"\x00\xff",
        keys=keys,
    )
    verify_response(
        headers=[(b"Response-Time", b"2025-01-01T00:00:01Z"), (b"Signature", response.encode())],
        keys=keys,
        **parts,
    )
    with pytest.raises(SignatureMismatch):
        verify_response(
            headers=[(b"Response-Time", b"2025-01-01T00:00:01Z"), (b"Signature", request.encode())],
            keys=keys,
            **parts,
        )


def test_header_needs_no_lenient_reader(signer: Signer) -> None:
    """What we send is percent-encoded whole: nothing in the value but letters, digits and escapes."""
    for number in range(8):
        header = sign_request(
            signer, method="POST", path="/", client_id="C", time="1", body=bytes([number]), key_version="1"
        )
        start, _, value = header.partition("signature=")
        assert start == "algorithm=RSA256, keyVersion=1, "
        assert value.replace("%2B", "").replace("%2F", "").replace("%3D", "").isalnum()
        assert value.endswith("%3D%3D")


@pytest.mark.parametrize(
    "part",
    [
        {"method": "post"},
        {"method": "POST /x\nC"},
        {"path": "x"},
        {"path": "/ä"},
        {"path": "/a b"},
        {"path": "/a\nb"},
        {"client_id": ""},
        {"client_id": "C D"},
        {"client_id": "C\n"},
        {"time": ""},
        {"time": '1.{"a":"'},
        {"time": "2025-01-01 00:00:00"},
    ],
)
def test_parts_that_could_shift_the_joints_are_refused(part: dict[str, str]) -> None:
    """A part that could be mistaken for its neighbour's beginning is neither signed nor verified."""
    parts = {"method": "POST", "path": "/x", "client_id": "C", "time": "1"} | part

    with pytest.raises(SignatureMalformed):
        signing_text(**parts, body=b"{}")


def test_body_cannot_be_moved_into_the_time_header(signer: Signer) -> None:
    """A signed text cut elsewhere, the body beginning later, is refused though the bytes are the same."""
    keys = PublicKeys({"C": {"1": signer.verifier}})
    body = b'{"a":"x.{\\"amount\\":1}"}'
    header = sign_request(signer, method="POST", path="/", client_id="C", time="1", body=body)

    with pytest.raises(SignatureMalformed, match="time"):
        verify_request(
            headers=[(b"Client-Id", b"C"), (b"Request-Time", b'1.{"a":"x'), (b"Signature", header.encode())],
            method="POST",
            path="/",
            body=b'{\\"amount\\":1}"}',
            keys=keys,
        )


@pytest.mark.parametrize("version", ["", "1, signature=x", "1 "])
def test_key_version_cannot_break_the_header(signer: Signer, version: str) -> None:
    """A configured key version that would change the header's form is refused when signing."""
    with pytest.raises(SignatureMalformed):
        sign_request(signer, method="POST", path="/", client_id="C", time="1", body=b"", key_version=version)


def test_messages_hold_neither_signature_nor_body(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """No error text holds any of the signature or of the body, token included."""
    vector = vectors["A1"]
    signature = vector["signatureBase64"]
    headers = [
        vector["signatureHeader"].replace("RSA256", signature[:40]),
        vector["signatureHeader"].replace("keyVersion=1", f"keyVersion={signature}"),
        f"{signature},{signature}",
        f"{signature[:30]}=1,{signature[:30]}=2",
        vector["signatureHeader"][:-9],
    ]
    for changed in [{"header": header} for header in headers] + [{"time": "2"}]:
        with pytest.raises(SignatureError) as caught:
            verify(vector, vector_keys, **changed)
        assert signature[:12] not in str(caught.value)
        assert "tok_" not in str(caught.value)
