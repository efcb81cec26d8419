from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.states import Outcome
from tests.hub.payside import (
    NOW_AT,
    TOKEN,
    WALLET_APIS,
    Gate,
    Heard,
    answer,
    call,
    counterpart,
    hub_at,
    read_request,
    request_of,
    result_body,
    serving,
    signed,
    unbinding,
)
from worker.hub.answers import Answer
from worker.hub.catalogue import EVERY_API
from worker.hub.client import open_hub
from worker.hub.reading import read
from worker.saga.results import Result, ResultClass

if TYPE_CHECKING:
    from worker.hub.apis.api import Api

pytestmark = pytest.mark.promise("P9", "P10")

UNREAD = {ResultClass.SOON, ResultClass.SLOWLY}
GOOD = answer(result_body())
NAMES = st.sampled_from(
    ["Client-Id", "Response-Time", "Signature", "Retry-After", "Content-Encoding", "X-Other"]
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
WORDS = st.sampled_from(
    ["S", "F", "U", "SUCCESS", "INVALID_TOKEN", "PROCESS_FAIL", "UNKNOWN_EXCEPTION", TOKEN]
)
JSON = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)


def over_tcp(reply: bytes) -> Result:
    """Make a call to a server that answers with these bytes and hangs up."""

    async def replying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)

    async def performed() -> Result:
        async with serving(replying) as port, hub_at(port, timeout_ms=500) as hub:
            return await hub.perform(call(), unbinding(), Gate())

    return asyncio.run(performed())


def with_transport(response: httpx.Response) -> Result:
    """Make a call whose transport brings this response."""

    async def performed() -> Result:
        async with open_hub(
            [counterpart("https://open.example")],
            apis=WALLET_APIS,
            in_flight=4,
            clock=lambda: NOW_AT,
            chance=lambda: 0.0,
            observer=Heard(),
            transport=lambda _: httpx.MockTransport(lambda _: response),
        ) as hub:
            return await hub.perform(call(), unbinding(), Gate())

    return asyncio.run(performed())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(lambda junk: b"HTTP/1.1 200 OK\r\n" + junk)
    | st.binary(max_size=200).map(
        lambda junk: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + junk
    )
    | st.binary(max_size=200).map(lambda junk: b"HTTP/1.1 503 X\r\nContent-Length: 20\r\n\r\n" + junk)
)
def test_arbitrary_bytes_on_the_wire_are_no_answer(reply: bytes) -> None:
    """Whatever comes back without a signature, nothing is read from it, and nothing raises."""
    result = over_tcp(reply)
    assert result.result_class in UNREAD
    assert result.outcome is Outcome.UNKNOWN
    assert not result.verified


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_good_answer_with_one_byte_changed_is_never_misread(position: int, flip: int) -> None:
    """One changed byte leaves a verified success, or no answer; never anything else."""
    changed = bytearray(GOOD)
    changed[position] ^= flip
    result = over_tcp(bytes(changed))
    if result.verified:
        assert result.result_class is ResultClass.DONE
    else:
        assert result.result_class in UNREAD
        assert result.outcome is Outcome.UNKNOWN


@settings(max_examples=150, deadline=None)
@given(
    st.integers(200, 599),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.sampled_from([b"", result_body()]),
)
def test_arbitrary_headers_never_verify(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """No made-up header turns an unsigned S into one."""
    raw: Any = [(name.encode(), value.encode()) for name, value in headers]
    result = with_transport(httpx.Response(status, headers=raw, stream=httpx.ByteStream(body)))
    assert result.result_class in UNREAD
    assert not result.verified


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_signed_bodies_have_a_meaning(body: bytes) -> None:
    """Even a counterpart that signs nonsense gets a result, and no success."""
    response = httpx.Response(200, headers=signed(body), stream=httpx.ByteStream(body))
    result = with_transport(response)
    assert result.verified
    assert result.result_class is ResultClass.SOON


@settings(max_examples=400)
@given(
    api=st.sampled_from(EVERY_API),
    body=st.dictionaries(WORDS, JSON, max_size=3),
    status=WORDS | JSON,
    code=WORDS | JSON,
    message=JSON,
    undecided=st.booleans(),
)
def test_reading_is_total(
    *, api: Api, body: dict[str, Any], status: object, code: object, message: object, undecided: bool
) -> None:
    """Any verified object has a result that keeps the rules of its fields."""
    full = body | {"result": {"resultStatus": status, "resultCode": code, "resultMessage": message}}
    full |= {"allowUnbinding": message, "refuseReason": code, "acquirerId": code, "pspId": status}
    full |= {"authUrl": message, "schemeUrl": code}
    result = read(
        api,
        Answer(body=full, verified=True, http_status=200),
        request=request_of(api.step),
        undecided_before=undecided,
    )
    if result.result_class is ResultClass.DONE:
        assert (status, code) == ("S", "SUCCESS")
    texts = [result.code, result.message, result.refuse_reason, result.acquirer_id, result.psp_id]
    assert all(
        text is None or (text.isprintable() and TOKEN not in text and len(text) <= 256) for text in texts
    )
    assert result.code is None or len(result.code) <= 64
