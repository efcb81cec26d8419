"""Fingerprints and digests: equal things are found under every live key, others are never confused."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sealing import (
    DIGEST_BYTES,
    FingerprintMalformed,
    Fingerprints,
    KeyRing,
    UnknownSealingKey,
)

OLD = bytes(range(32))
NEW = bytes(range(32, 64))
TOKEN = "tok_9f3c2b7e55aa4d10"

before = Fingerprints(KeyRing({"old": OLD}, active="old"))
after = Fingerprints(KeyRing({"old": OLD, "new": NEW}, active="new"))

part = st.text(max_size=12) | st.binary(max_size=12)


@given(token=st.text(max_size=200))
def test_fingerprint_is_plain_hmac(token: str) -> None:
    """A fingerprint is the key's id and the hex of HMAC-SHA-256, as any other tool computes it."""
    expected = hmac.new(NEW, token.encode(), hashlib.sha256).hexdigest()

    assert after.fingerprint(token) == f"new:{expected}"


def test_fingerprint_of_a_known_vector() -> None:
    """The construction agrees with a vector of RFC 4231 (case 2, its key padded with zeros as HMAC does)."""
    ring = KeyRing({"rfc": b"Jefe".ljust(32, b"\0")}, active="rfc")

    assert Fingerprints(ring).fingerprint("what do ya want for nothing?") == (
        "rfc:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(token=st.text(max_size=40), other=st.text(max_size=40))
def test_fingerprints_match_their_token_alone(token: str, other: str) -> None:
    """A fingerprint matches its own token under whichever live key, and another token never."""
    for fingerprint in (before.fingerprint(token), *after.fingerprints_all_keys(token)):
        assert after.matches(token, fingerprint)
        assert after.matches(other, fingerprint) is (other == token)


def test_fingerprints_of_all_keys_begin_with_the_active_one() -> None:
    """There is one fingerprint for each live key, the active key's first."""
    made = after.fingerprints_all_keys(TOKEN)

    assert made == (after.fingerprint(TOKEN), before.fingerprint(TOKEN))


def test_fingerprint_of_a_key_that_is_gone_names_it() -> None:
    """A fingerprint under a key that the ring lacks is not a mismatch: the missing key is named."""
    with pytest.raises(UnknownSealingKey) as caught:
        before.matches(TOKEN, after.fingerprint(TOKEN))
    assert caught.value.key_id == "new"


@pytest.mark.parametrize(
    "text",
    ["", "old", "old:", ":" + "0" * 64, "old:" + "0" * 63, "old:" + "A" * 64, "old:" + "0" * 65, TOKEN],
)
def test_other_texts_are_no_fingerprints(text: str) -> None:
    """A text of another form is refused, and the message does not repeat it: it may be a token."""
    with pytest.raises(FingerprintMalformed) as caught:
        after.matches(TOKEN, text)
    assert TOKEN not in str(caught.value)


@given(text=st.text(max_size=100))
def test_arbitrary_texts_never_match(text: str) -> None:
    """No arbitrary text is taken for a fingerprint."""
    with pytest.raises(FingerprintMalformed):
        after.matches(TOKEN, text)


@given(left=st.lists(part, max_size=4), right=st.lists(part, max_size=4))
def test_digests_are_equal_exactly_if_the_parts_are(
    left: list[str | bytes], right: list[str | bytes]
) -> None:
    """Two digests are equal if and only if all parts are, in order, text counting as its UTF-8 bytes."""
    plain = [[one.encode() if isinstance(one, str) else one for one in parts] for parts in (left, right)]

    assert (after.digest(*left) == after.digest(*right)) is (plain[0] == plain[1])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        (("abc",), ("ab", "c")),
        (("a", ""), ("a",)),
        (("",), ()),
        (("a", "b"), ("b", "a")),
        (("\0\0\0\1a",), ("a",)),
        (("a\0\0\0\1b",), ("a", "b")),
    ],
)
def test_parts_cannot_be_shifted(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    """The same characters in other parts, or a part that imitates the frame, give another digest."""
    assert after.digest(*left) != after.digest(*right)


def test_digest_is_the_documented_one() -> None:
    """A digest is keyed BLAKE2b over framed parts, under a derived key: it is stored, and must not change."""
    key = hmac.digest(NEW, b"unbinding digest 1", "sha256")
    framed = b"\0\0\0\2ab\0\0\0\1c"

    assert after.digest("ab", b"c") == hashlib.blake2b(framed, key=key, digest_size=16).digest()
    assert len(after.digest()) == DIGEST_BYTES == 16


def test_digests_of_all_keys_hold_the_one_made_before_a_rotation() -> None:
    """What was remembered under the old key is found after the rotation; the active key comes first."""
    made = after.digests_all_keys("source", b"id")

    assert made == (after.digest("source", b"id"), before.digest("source", b"id"))
    assert made[0] != made[1]


def test_calls_do_not_disturb_each_other() -> None:
    """The prepared states are never used up: the hundredth fingerprint and digest are the first."""
    fingerprints = {after.fingerprint(TOKEN) for _ in range(100)}
    digests = {after.digest(TOKEN, TOKEN) for _ in range(100)}

    assert len(fingerprints) == len(digests) == 1


def test_half_a_surrogate_pair_is_taken() -> None:
    """Text that is not UTF-8, as JSON can carry it, has a fingerprint and a digest of its own."""
    assert after.matches("\ud800", after.fingerprint("\ud800"))
    assert after.digest("\ud800") != after.digest("\ud801")


def test_reprs_show_no_secret() -> None:
    """Nothing of a key shows in the repr."""
    assert NEW.hex() not in repr(after)
    assert len(repr(after)) < 100
