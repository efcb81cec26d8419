"""Secrets are found wherever they stand, in each form, among many; and nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.verify.clear_text import Secrets

pytestmark = pytest.mark.promise("P8")
TOKEN = 'tök/"4711"+abcdef=0815'
TOKENS = st.binary(min_size=1, max_size=60)


@given(secret=TOKENS, before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_a_secret_is_found_at_each_place(secret: bytes, before: bytes, after: bytes) -> None:
    """A secret of any length is found at any offset of any content."""
    assert Secrets([secret]).within(before + secret + after)


@given(secrets=st.sets(TOKENS, max_size=6), content=st.binary(max_size=120))
def test_what_is_found_is_there(secrets: set[bytes], content: bytes) -> None:
    """Where none of the secrets stands, as it is or as base64, percent-encoded or JSON, nothing is found."""
    alone = [Secrets([secret]).within(content) for secret in secrets]
    assert Secrets(secrets).within(content) == any(alone)
    if not any(secret in content for secret in secrets):
        forms = [form for secret in secrets for form in _forms(secret)]
        assert Secrets(secrets).within(content) == any(form in content for form in forms if form)


def _forms(secret: bytes) -> list[bytes]:
    whole = secret[: len(secret) - len(secret) % 3]
    short = min(len(secret), 9)
    forms = [
        base64.b64encode(whole),
        base64.urlsafe_b64encode(whole),
        quote(secret, safe="").encode(),
        json.dumps(secret.decode("utf-8", "replace"))[1:-1].encode(),
    ]
    return [form for form in forms if len(form) >= short]


@pytest.mark.parametrize(
    "written",
    [
        TOKEN.encode(),
        base64.b64encode(TOKEN.encode()),
        base64.urlsafe_b64encode(TOKEN.encode()),
        quote(TOKEN, safe="").encode(),
        json.dumps({"message": f"bad token {TOKEN}"}).encode(),
    ],
    ids=["as it is", "base64", "base64 for URLs", "percent-encoded", "JSON"],
)
def test_a_secret_is_found_in_each_form(written: bytes) -> None:
    """A secret is found as it is, and as others would write it down by mistake."""
    assert Secrets([TOKEN.encode()]).within(b'{"a": "' + written + b'"}')


def test_a_shared_word_is_no_secret() -> None:
    """Content that shares the end of a secret, but not all of it, is clean."""
    secrets = Secrets([b"prefix-one-0000000000000001", b"prefix-two-0000000000000001"])
    assert not secrets.within(b'{"id":"0000000000000001","other":"prefix-0000000000000001"}')
    assert secrets.within(b"prefix-two-0000000000000001")
