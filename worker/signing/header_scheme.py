"""The header scheme: method, path, client id, time and raw body, signed into the header ``Signature``.

Source: Alipay+ "Signature" (wallet, MPP edition), Antom "Digital signature", AlipayHK "API fundamentals".
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from worker.signing.errors import (
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    UnknownClient,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from worker.signing.keys import PublicKeys, Signer

    RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
    # Header fields as they came, repeated ones repeated: httpx.Headers.raw, or the headers of an ASGI scope.

_ALGORITHM: Final = "RSA256"
_SIGNATURE: Final = b"signature"
_CLIENT_ID: Final = b"client-id"
_REQUEST_TIME: Final = b"request-time"
_RESPONSE_TIME: Final = b"response-time"

# The parts are joined without escapes. These forms keep the joints where they are: with any character
# allowed, a body's beginning could be moved into the time header without a change of the signed text.
_METHOD_FORM: Final = re.compile(r"[A-Z]{1,16}")
_PATH_FORM: Final = re.compile(r"/[\x21-\x7e]*")
_CLIENT_ID_FORM: Final = re.compile(r"[\x21-\x7e]{1,128}")
_TIME_FORM: Final = re.compile(r"[0-9A-Za-z:+.\-]{1,40}")
_KEY_VERSION_FORM: Final = re.compile(r"[0-9A-Za-z._\-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Who signed a message that was found genuine."""

    client_id: str
    key_version: str
    time: str
    """The text of Request-Time or Response-Time, as it was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureHeader:
    """The header ``Signature``, taken apart."""

    key_version: str | None
    """``None`` where the header names none: the newest key is meant."""
    signature: bytes = field(repr=False)


def signing_text(*, method: str, path: str, client_id: str, time: str, body: bytes) -> bytes:
    """Join the exact bytes that are signed.

    ``path`` is the request target as it goes over the wire, with its leading slash and its query, not
    decoded. ``time`` is the text of Request-Time (for a response: Response-Time), never parsed and printed
    again; for a response, method and path are the request's. Raises SignatureMalformed for a part that does
    not have the form.
    """
    if not (
        _METHOD_FORM.fullmatch(method)
        and _PATH_FORM.fullmatch(path)
        and _CLIENT_ID_FORM.fullmatch(client_id)
        and _TIME_FORM.fullmatch(time)
    ):
        raise _misshapen_part(method=method, path=path, client_id=client_id, time=time)
    return f"{method} {path}\n{client_id}.{time}.".encode("ascii") + body


def sign_request(
    signer: Signer,
    *,
    method: str,
    path: str,
    client_id: str,
    time: str,
    body: bytes,
    key_version: str = "1",
) -> str:
    """Make the ``Signature`` header of a request; ``time`` is the text of its Request-Time.

    ``path`` and ``body`` are what goes over the wire, byte for byte. Raises SignatureMalformed for a part
    that cannot be signed.
    """
    if not _KEY_VERSION_FORM.fullmatch(key_version):
        raise SignatureMalformed(
            f"key version {shown(key_version)} cannot be sent: use letters, digits, . _ -"
        )
    text = signing_text(method=method, path=path, client_id=client_id, time=time, body=body)
    return f"algorithm={_ALGORITHM}, keyVersion={key_version}, signature={_header_text(signer.sign(text))}"


def sign_response(
    signer: Signer,
    *,
    method: str,
    path: str,
    client_id: str,
    time: str,
    body: bytes,
    key_version: str = "1",
) -> str:
    """Make the ``Signature`` header of a response; ``time`` is the text of its Response-Time.

    Method and path are the request's. Raises SignatureMalformed for a part that cannot be signed.
    """
    return sign_request(
        signer, method=method, path=path, client_id=client_id, time=time, body=body, key_version=key_version
    )


def parse_header(value: str) -> SignatureHeader:
    """Take a ``Signature`` header apart.

    Items may come in any order, with or without blanks, in any case; the value may be percent-encoded or not,
    Base64 or base64url, padded or not: all of these are sent by official clients. Raises SignatureMalformed.
    """
    items: dict[str, str] = {}
    for item in value.split(","):
        # Only the first "=" parts name and value: Base64 that was not percent-encoded ends in "==".
        name, parted, text = item.partition("=")
        name = name.strip(" \t").lower()
        if not parted:
            raise SignatureMalformed(
                "the Signature header has an item without '='; expected algorithm=, keyVersion=, signature="
            )
        if name in items:
            raise SignatureMalformed("the Signature header has an item twice, or is two headers in one")
        items[name] = text.strip(" \t")
    algorithm = items.get("algorithm", "")
    if algorithm.upper() != _ALGORITHM:
        raise SignatureMalformed(
            f"the Signature header does not name {_ALGORITHM}, the only algorithm accepted"
        )
    key_version = items.get("keyversion")
    if key_version is not None and not _KEY_VERSION_FORM.fullmatch(key_version):
        raise SignatureMalformed("the Signature header has a key version that is none; expected a number")
    if not items.get("signature"):
        raise SignatureMissing("the Signature header has no item 'signature'")
    return SignatureHeader(key_version=key_version, signature=_signature_bytes(items["signature"]))


def verify_request(*, headers: RawHeaders, method: str, path: str, body: bytes, keys: PublicKeys) -> Verified:
    """Verify a received request before anything of its body is read.

    ``path`` is the original request target, before any proxy or framework changed or decoded it; ``body``
    the raw bytes. ``keys`` are looked up by the header Client-Id. Raises a SignatureError.
    """
    client_id, time, signature = _signed_headers(headers, _REQUEST_TIME)
    if client_id is None:
        raise SignatureMissing("the request has no Client-Id header")
    if time is None:
        raise SignatureMissing("the request has no Request-Time header")
    if signature is None:
        raise SignatureMissing("the request has no Signature header")
    return _verify(
        "request",
        signature=signature,
        method=method,
        path=path,
        client_id=client_id,
        time=time,
        body=body,
        keys=keys,
    )


def verify_response(
    *,
    headers: RawHeaders,
    method: str,
    path: str,
    client_id: str,
    body: bytes,
    keys: PublicKeys,
) -> Verified:
    """Verify the response to a request of ours before anything of its body is read.

    ``method``, ``path`` and ``client_id`` are those that the request was sent with; ``body`` is the raw
    response body. A response that names another client id is refused. Raises a SignatureError: such a
    response is no answer.
    """
    named, time, signature = _signed_headers(headers, _RESPONSE_TIME)
    if time is None:
        raise SignatureMissing("the response has no Response-Time header")
    if signature is None:
        raise SignatureMissing("the response has no Signature header")
    if named is not None and named != client_id:
        raise UnknownClient(
            f"the response is for client id {shown(named)}, the request was sent as {shown(client_id)}: "
            "check what stands between us and the counterpart"
        )
    return _verify(
        "response",
        signature=signature,
        method=method,
        path=path,
        client_id=client_id,
        time=time,
        body=body,
        keys=keys,
    )


def _verify(
    kind: str,
    *,
    signature: str,
    method: str,
    path: str,
    client_id: str,
    time: str,
    body: bytes,
    keys: PublicKeys,
) -> Verified:
    header = parse_header(signature)
    version, key = keys.find(client_id, header.key_version)
    if len(header.signature) != key.signature_bytes:
        raise SignatureMalformed(
            f"the {kind}'s signature has {len(header.signature)} bytes, one of key version {shown(version)} "
            f"of client {shown(client_id)} has {key.signature_bytes}"
        )
    text = signing_text(method=method, path=path, client_id=client_id, time=time, body=body)
    if not key.fits(header.signature, text):
        raise SignatureMismatch(
            f"the {kind}'s signature does not fit: {method} {shown(path)}, client {shown(client_id)}, "
            f"key version {shown(version)} (public key {key.fingerprint}). Check that this is the sender's "
            "present public key, and that nothing on the way changes path or body"
        )
    return Verified(client_id=client_id, key_version=version, time=time)


def _signed_headers(headers: RawHeaders, time_name: bytes) -> tuple[str | None, str | None, str | None]:
    """Pick client id, time and signature; each may be there once. Raises SignatureMalformed."""
    wanted = (_SIGNATURE, _CLIENT_ID, time_name)
    found: dict[bytes, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name not in wanted:
            continue
        if name in found:
            raise SignatureMalformed(f"there is more than one header {name.decode('ascii')}; one is accepted")
        if not value.isascii():
            raise SignatureMalformed(f"the header {name.decode('ascii')} is not ASCII text")
        found[name] = value.decode("ascii").strip(" \t")
    return found.get(_CLIENT_ID), found.get(time_name), found.get(_SIGNATURE)


def _header_text(signature: bytes) -> str:
    """Write Base64, then URL-encode it: the counterpart's Java client fails on a bare ``==``."""
    text = binascii.b2a_base64(signature, newline=False).decode("ascii")
    return text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def _signature_bytes(text: str) -> bytes:
    """Undo every form of encoding that is in use. Raises SignatureMalformed."""
    # Never as a form: "+" is a digit of Base64 here, not a blank.
    plain = text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=") if "%" in text else text
    raw = unquote_to_bytes(text) if "%" in plain else plain.encode("ascii", "replace")
    raw = raw.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    raw += b"=" * (-len(raw) % 4)
    try:
        return binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        raise SignatureMalformed(
            "the signature is neither Base64 nor base64url, plain or percent-encoded"
        ) from None


def _misshapen_part(*, method: str, path: str, client_id: str, time: str) -> SignatureMalformed:
    if not _METHOD_FORM.fullmatch(method):
        return SignatureMalformed(f"method {shown(method)} cannot be signed: upper-case letters are needed")
    if not _PATH_FORM.fullmatch(path):
        return SignatureMalformed(
            f"path {shown(path)} cannot be signed: it must begin with '/' and be ASCII, as on the wire"
        )
    if not _CLIENT_ID_FORM.fullmatch(client_id):
        return SignatureMalformed(
            f"client id {shown(client_id)} cannot be signed: visible ASCII without blanks"
        )
    return SignatureMalformed(
        f"time {shown(time)} cannot be signed: it is neither ISO 8601 with an offset nor epoch milliseconds"
    )
