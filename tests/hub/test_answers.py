from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hub.payside import NOW_AT
from worker.hub.answers import clean, read_object, read_retry_after

pytestmark = pytest.mark.promise("P9")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b" 30 ", 30_000),
        (b"3600", 3_600_000),
        (b"86400", 3_600_000),
        (b"9" * 400, 3_600_000),
        (b"Sun, 23 Nov 2025 03:02:00 GMT", 120_000),
        (b"Sun, 23 Nov 2025 02:00:00 GMT", 0),
        (b"Sun, 23 Nov 2025 03:02:00 -0000", 120_000),
        (b"Sun, 23 Nov 9999 03:02:00 GMT", 3_600_000),
        (b"-5", None),
        (b"soon", None),
        (b"", None),
        (b"1.5", None),
        ("٣".encode(), None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_time_from_now(value: bytes | None, expected: int | None) -> None:
    """Seconds or an HTTP date, never below zero, never above an hour, nonsense is nothing."""
    assert read_retry_after(value, now_at=NOW_AT) == expected


@given(st.binary(max_size=60))
def test_retry_after_takes_any_bytes(value: bytes) -> None:
    """No header makes it raise or leave its bounds."""
    read = read_retry_after(value, now_at=NOW_AT)
    assert read is None or 0 <= read <= 3_600_000


@given(st.binary(max_size=300))
def test_any_bytes_are_an_object_or_nothing(content: bytes) -> None:
    """Reading a body never raises."""
    body = read_object(content)
    assert body is None or isinstance(body, dict)


@given(st.text(max_size=600), st.text(min_size=1, max_size=12), st.integers(1, 256))
def test_cleaned_text_is_short_printable_and_without_the_token(text: str, token: str, longest: int) -> None:
    """Whatever the text and the token, the token is not in what is left."""
    cleaned = clean(f"{text}{token}{text}", token=token, longest=longest)
    if cleaned is not None:
        assert token not in cleaned
        assert cleaned.isprintable()
        assert 0 < len(cleaned) <= longest


@pytest.mark.parametrize("value", [None, 7, [], {}, "", " \n\t"])
def test_what_is_no_text_is_nothing(value: object) -> None:
    """Only text with something in it is kept."""
    assert clean(value, token=None, longest=10) is None
