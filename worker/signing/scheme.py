"""Which of the two schemes a received message was signed by.

The documents do not say which one AlipayHK's accountUnbinding uses, so the message itself decides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from worker.signing.envelope_text import has_signature_member
from worker.signing.errors import SignatureMalformed, SignatureMissing

if TYPE_CHECKING:
    from worker.signing.header_scheme import RawHeaders


class Scheme(StrEnum):
    """How a message is signed."""

    HEADER = "header"
    """By the HTTP header ``Signature``: Alipay+, Antom, AlipayHK's newer APIs."""
    ENVELOPE = "envelope"
    """By the member ``signature`` of the body: AlipayHK auto-debit."""


def detect_scheme(*, headers: RawHeaders, body: bytes) -> Scheme:
    """Tell the scheme of a message by where its signature stands.

    Raises SignatureMissing if it stands nowhere and SignatureMalformed if it stands in both places.
    """
    in_header = any(name.lower() == b"signature" for name, _ in headers)
    in_body = has_signature_member(body)
    if in_header and in_body:
        raise SignatureMalformed(
            "the message has a Signature header and a 'signature' member; one is expected"
        )
    if in_header:
        return Scheme.HEADER
    if in_body:
        return Scheme.ENVELOPE
    raise SignatureMissing("the message has neither a Signature header nor a 'signature' member")
