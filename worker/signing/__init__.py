"""The payment side's two signature schemes, pure: texts to be signed, signing, verifying, keys."""

from worker.signing.envelope_scheme import sign_envelope, verify_envelope
from worker.signing.envelope_text import Envelope, Member, read_envelope
from worker.signing.errors import (
    KeyPasswordWrong,
    KeyTooSmall,
    KeyUnreadable,
    KeyUnusable,
    SelfTestFailed,
    SignatureError,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    UnknownClient,
    UnknownKey,
)
from worker.signing.header_scheme import (
    SignatureHeader,
    Verified,
    parse_header,
    sign_request,
    sign_response,
    signing_text,
    verify_request,
    verify_response,
)
from worker.signing.key_files import load_signer, load_verifier
from worker.signing.keys import Hash, PublicKeys, Signer, Verifier
from worker.signing.message_time import read_time, skew_ms
from worker.signing.scheme import Scheme, detect_scheme
from worker.signing.self_test import self_test

__all__ = [
    "Envelope",
    "Hash",
    "KeyPasswordWrong",
    "KeyTooSmall",
    "KeyUnreadable",
    "KeyUnusable",
    "Member",
    "PublicKeys",
    "Scheme",
    "SelfTestFailed",
    "SignatureError",
    "SignatureHeader",
    "SignatureMalformed",
    "SignatureMismatch",
    "SignatureMissing",
    "Signer",
    "UnknownClient",
    "UnknownKey",
    "Verified",
    "Verifier",
    "detect_scheme",
    "load_signer",
    "load_verifier",
    "parse_header",
    "read_envelope",
    "read_time",
    "self_test",
    "sign_envelope",
    "sign_request",
    "sign_response",
    "signing_text",
    "skew_ms",
    "verify_envelope",
    "verify_request",
    "verify_response",
]
