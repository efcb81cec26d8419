"""Trace context that is carried on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.telemetry import trace_headers, valid_traceparent, valid_tracestate

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_context_is_carried_as_it_is() -> None:
    """Valid trace context passes byte for byte; other headers do not."""
    headers = [
        ("x", b"1"),
        ("tracestate", b"rojo=00f067aa0ba902b7,congo=t61"),
        ("traceparent", PARENT.encode()),
    ]
    assert trace_headers(headers) == (
        ("traceparent", PARENT.encode()),
        ("tracestate", b"rojo=00f067aa0ba902b7,congo=t61"),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PARENT, True),
        (PARENT.replace("00-", "cc-", 1) + "-what-the-future-brings", True),
        (PARENT + "-x", False),
        (PARENT.replace("00-", "ff-", 1), False),
        (PARENT.upper(), False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", False),
        (PARENT + "\n", False),
        ("", False),
    ],
)
def test_a_traceparent_is_checked(value: str, expected: bool) -> None:
    """Version, ids and length are those of W3C Trace Context; a later version may be longer."""
    assert valid_traceparent(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1", True),
        ("a=1, b@c=2,", True),
        ("", False),
        ("a", False),
        ("A=1", False),
        ("a=1,a=2", False),
        ("a=\n", False),
        (",".join(f"k{n}=v" for n in range(33)), False),
        ("a=" + "v" * 511, False),
    ],
)
def test_a_tracestate_is_checked(value: str, expected: bool) -> None:
    """Keys, values, their number and the length are those of W3C Trace Context."""
    assert valid_tracestate(value) is expected


@pytest.mark.parametrize(
    "headers",
    [
        [("tracestate", b"a=1")],
        [("traceparent", PARENT.encode()), ("traceparent", PARENT.encode())],
        [("traceparent", b"\xff"), ("tracestate", b"a=1")],
        [("traceparent", None)],
    ],
)
def test_a_malformed_context_is_not_carried(headers: list[tuple[str, bytes | None]]) -> None:
    """Without exactly one valid traceparent nothing is carried."""
    assert trace_headers(headers) == ()


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.none() | st.binary())))
def test_any_headers_give_a_context_or_none(headers: list[tuple[str, bytes | None]]) -> None:
    """Untrusted headers never raise."""
    assert len(trace_headers(headers)) <= 2
