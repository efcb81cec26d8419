"""The start-up check, the choice of the scheme, and the time of a message."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typing_extensions import override

from worker.signing import (
    Hash,
    Scheme,
    SelfTestFailed,
    SignatureMalformed,
    SignatureMissing,
    Signer,
    Verifier,
    detect_scheme,
    read_time,
    self_test,
    skew_ms,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_self_test_passes_here() -> None:
    """On a machine whose cryptography does both hashes the start-up check says nothing."""
    self_test()


class _Wrong(Verifier):
    """A key of a system that judges signatures in another way."""

    __slots__ = ("judge",)

    judge: Callable[[Hash], bool | None]
    """Gives the answer for a hash; ``None`` leaves it to the genuine judgement."""

    @override
    def fits(self, signature: bytes, text: bytes, *, using: Hash = Hash.SHA256) -> bool:
        answer = self.judge(using)
        return super().fits(signature, text, using=using) if answer is None else answer


@pytest.fixture
def wrong_key(vectors: dict[str, dict[str, Any]]) -> _Wrong:
    """Load the known key into the odd system."""
    key = serialization.load_der_public_key(base64.b64decode(vectors["A1"]["publicKeySpkiBase64"]))
    assert isinstance(key, rsa.RSAPublicKey)
    return _Wrong(key)


@pytest.mark.parametrize("hashed", Hash)
def test_self_test_names_a_hash_that_the_system_refuses(wrong_key: _Wrong, hashed: Hash) -> None:
    """Where policy refuses a hash the start-up check fails with its name and what to do."""

    def judge(using: Hash) -> None:
        if using is hashed:
            raise UnsupportedAlgorithm("refused by policy")

    wrong_key.judge = judge
    with pytest.raises(SelfTestFailed, match=f"{hashed.value}.*policy"):
        self_test(wrong_key)


@pytest.mark.parametrize("hashed", Hash)
@pytest.mark.parametrize("answer", [True, False])
def test_self_test_does_not_believe_a_verifier_with_one_answer(
    wrong_key: _Wrong, hashed: Hash, *, answer: bool
) -> None:
    """Cryptography that accepts everything, or nothing, under one of the hashes fails the start-up check."""
    wrong_key.judge = lambda using: answer if using is hashed else None

    with pytest.raises(SelfTestFailed, match=hashed.value):
        self_test(wrong_key)


def test_self_test_takes_another_key_as_a_failure(signer: Signer) -> None:
    """A key that the known signatures were not made with fails the start-up check."""
    with pytest.raises(SelfTestFailed):
        self_test(signer.verifier)


def test_scheme_is_told_by_where_the_signature_stands() -> None:
    """A Signature header means the header scheme, a signature member the envelope."""
    signed = [(b"content-type", b"x"), (b"SIGNATURE", b"y")]

    assert detect_scheme(headers=signed, body=b'{"a":{"signature":"x"}}') is Scheme.HEADER
    assert detect_scheme(headers=signed, body=b"\xff not json") is Scheme.HEADER
    assert detect_scheme(headers=[], body=b'{"request":{},"signature":"x"}') is Scheme.ENVELOPE


def test_message_with_both_signatures_or_none_is_refused() -> None:
    """Two signatures, or none, leave no scheme to verify by."""
    with pytest.raises(SignatureMalformed):
        detect_scheme(headers=[(b"signature", b"y")], body=b'{"signature":"x"}')
    for body in (b"", b"{}", b'{"a":{"signature":"x"}}', b'{"signature":"x"} trailing'):
        with pytest.raises(SignatureMissing):
            detect_scheme(headers=[(b"content-type", b"x")], body=body)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2025-03-01T09:15:27+08:00", 1_740_791_727_000),
        ("2025-03-01T01:15:27Z", 1_740_791_727_000),
        ("2025-03-01T01:15:27.1239Z", 1_740_791_727_123),
        ("1740791727123", 1_740_791_727_123),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
    ],
)
def test_times_are_read_in_both_forms(text: str, at: int) -> None:
    """ISO 8601 with an offset and epoch milliseconds give the same kind of number."""
    assert read_time(text) == at
    assert skew_ms(text, now_at=at - 5_000) == 5_000


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2025-03-01T09:15:27", "2025-03-01", "1" * 16, "-1", "\N{FULLWIDTH DIGIT ONE}23"],
)
def test_other_texts_are_no_times(text: str) -> None:
    """A time without an offset, or no time at all, is refused as malformed."""
    with pytest.raises(SignatureMalformed):
        read_time(text)
