"""Answers of a counterpart: any status, headers and bytes, and any JSON under a signature that is right."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson
import pytest
from hypothesis import strategies as st
from typing_extensions import override

from contracts.states import Outcome, Step
from tests.fuzz.doors import door
from tests.fuzz.grammar import changed, encoded, header_value, odd_scalar, odd_text, odd_value, torn
from tests.hub.payside import (
    NOW_AT,
    PATHS,
    STRANGER,
    TOKEN,
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
from worker.hub.answers import Answer, OwnCode
from worker.hub.apis.cancel_token import CANCEL_TOKEN
from worker.hub.catalogue import EVERY_API
from worker.hub.client import open_hub
from worker.hub.reading import read
from worker.saga.results import Result, ResultClass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.fuzz.grammar import Draw
    from worker.hub.apis.api import Api

pytestmark = [
    pytest.mark.promise("P8", "P9", "P10"),
    pytest.mark.fault("answers of any status, headers and bytes, and signed nonsense"),
]

UNREAD: Final = {ResultClass.SOON, ResultClass.SLOWLY}
APIS: Final = st.sampled_from(EVERY_API)
_CODES: Final = sorted({code for api in EVERY_API for code in api.table})
_BODY: Final[dict[str, Any]] = {
    "result": {"resultStatus": "S", "resultCode": "SUCCESS", "resultMessage": f"done with {TOKEN}"},
    "allowUnbinding": True,
    "refuseReason": f"open bill of {TOKEN}",
    "acquirerId": "acq-1",
    "pspId": "psp-1",
    "authUrl": f"https://wallet.example/authorize?state={TOKEN}",
    "normalUrl": "https://wallet.example/authorize",
    "schemeUrl": "wallet://authorize?id=q81",
    "applinkUrl": "https://wallet.example/app",
}


class Odd(httpx.AsyncByteStream):
    """A body in pieces of any size that may break off, for ever small or too long."""

    def __init__(self, pieces: list[bytes], fault: type[Exception] | None) -> None:
        self._pieces, self._fault = pieces, fault

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._fault is not None:
            raise self._fault("a reason that quotes " + TOKEN)


class Fixed(httpx.AsyncBaseTransport):
    """Answers every request alike."""

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], stream: httpx.AsyncByteStream
    ) -> None:
        self._answer = (status, headers, stream)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        status, headers, stream = self._answer
        return httpx.Response(status, headers=headers, stream=stream, request=request)


def performed(transport: httpx.AsyncBaseTransport, *, api: Api) -> Result:
    """Make a call through the real client, exchange and table."""

    async def work() -> Result:
        async with open_hub(
            [counterpart("https://open.example", paths={api.step: PATHS[api.step]})],
            apis={api.step: api},
            in_flight=4,
            clock=lambda: NOW_AT,
            chance=lambda: 0.0,
            observer=Heard(),
            transport=lambda _: transport,
            sleep=_no_sleep,
        ) as hub:
            return await hub.perform(call(api.step), request_of(api.step), Gate())

    return asyncio.run(work())


async def _no_sleep(seconds: float) -> None:
    del seconds
    await asyncio.sleep(0)


def check(result: Result, *, believed: bool) -> None:
    """See that a result keeps the rules: nothing unverified counts, every text is clean, codes are known."""
    if not believed:
        assert not result.verified
        assert result.result_class in UNREAD
        assert result.outcome is Outcome.UNKNOWN
        assert result.code in set(OwnCode)
    texts = (result.code, result.message, result.refuse_reason, result.acquirer_id, result.psp_id)
    for text in _given(texts):
        assert text.isprintable(), ascii(text)
        assert TOKEN not in text
        assert len(text) <= 256
    assert result.code is None or len(result.code) <= 64
    assert result.retry_after_ms is None or 0 <= result.retry_after_ms <= 3_600_000
    assert TOKEN not in repr(result)
    links = () if result.links is None else dataclasses.astuple(result.links)
    assert result.links is None or any(links)
    for link in _given(links):
        assert link.isprintable(), ascii(link)
        assert " " not in link
        assert len(link) <= 2048


def _given(texts: tuple[str | None, ...]) -> Iterator[str]:
    return (text for text in texts if text is not None)


def _headers() -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    names = st.sampled_from(
        (b"Client-Id", b"client-id", b"Response-Time", b"Signature", b"Retry-After", b"Content-Length", b"X")
    )
    values = header_value() | st.sampled_from(
        (
            b"120",
            b"-1",
            b"1e9",
            b"Fri, 31 Dec 9999 23:59:59 GMT",
            b"Mon, 32 Foo 2025 99:99:99 +9999",
            b"\xd9\xa1",
        )
    )
    return st.lists(st.tuples(names, values.map(lambda value: value.replace(b"\x00", b"")[:300])), max_size=4)


_FAULTS = st.none() | st.sampled_from(
    (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.StreamError, httpx.CloseError)
)


def _pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[begin:end] for begin, end in itertools.pairwise(marks)]


@st.composite
def _unbelievable(draw: Draw) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return an answer that nobody signed, or somebody else, or that was signed for another path or body."""
    step = Step.CANCEL_TOKEN
    body = result_body()
    right = [(name.encode(), text.encode()) for name, text in signed(body, step=step)]
    match draw(st.sampled_from(("none", "stranger", "path", "body", "made up"))):
        case "none":
            headers = []
        case "stranger":
            headers = [(n.encode(), t.encode()) for n, t in signed(body, step=step, signer=STRANGER)]
        case "path":
            headers = [(n.encode(), t.encode()) for n, t in signed(body, path=PATHS[Step.CONSULT])]
        case "body":
            headers, body = right, draw(torn(body)) + b" "
        case _:
            headers = []
    status = draw(
        st.sampled_from((200, 201, 204, 301, 400, 401, 404, 418, 429, 500, 502, 503)) | st.integers(100, 599)
    )
    return status, [*headers, *draw(_headers())], body


@door(
    "hub", examples=150, given=_unbelievable(), cuts=st.lists(st.integers(0, 500), max_size=3), fault=_FAULTS
)
def test_an_unverified_answer_is_no_answer(
    given: tuple[int, list[tuple[bytes, bytes]], bytes], cuts: list[int], fault: type[Exception] | None
) -> None:
    """Whatever comes without its own right signature has a result of our own, and is never done."""
    status, headers, body = given
    result = performed(Fixed(status, headers, Odd(_pieces(body, cuts), fault)), api=CANCEL_TOKEN)
    check(result, believed=False)


@st.composite
def _signed_nonsense(draw: Draw) -> bytes:
    body = _BODY | {
        "result": {
            "resultStatus": draw(st.sampled_from(("S", "F", "U")) | odd_scalar()),
            "resultCode": draw(st.sampled_from(_CODES) | odd_scalar()),
            "resultMessage": draw(odd_text().map(lambda text: text + TOKEN) | odd_scalar()),
        }
    }
    value = draw(encoded(draw(changed(body, most=2))))
    return draw(st.just(value) | torn(value) | st.binary(max_size=50))


@door("hub", examples=200, body=_signed_nonsense(), api=APIS, status=st.integers(200, 599), more=_headers())
def test_signed_nonsense_has_a_meaning(
    body: bytes, api: Api, status: int, more: list[tuple[bytes, bytes]]
) -> None:
    """A counterpart that signs anything gets a result; done only where status and code say so."""
    headers = [(name.encode(), text.encode()) for name, text in signed(body, step=api.step)]
    own = {name.lower() for name, _ in headers}
    extra = [(name, value) for name, value in more if name.lower() not in own]
    result = performed(Fixed(status, [*headers, *extra], Odd([body], None)), api=api)
    check(result, believed=True)
    assert result.verified
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    envelope = found.get("result") if isinstance(found, dict) else None
    said = (envelope.get("resultStatus"), envelope.get("resultCode")) if isinstance(envelope, dict) else None
    if result.result_class is ResultClass.DONE:
        assert said == ("S", "SUCCESS")
    if result.result_class is ResultClass.REFUSED:
        assert found["allowUnbinding"] is False


@door("hub", examples=300, body=odd_value(), api=APIS, undecided=st.booleans(), data=st.data())
def test_every_reading_is_total(body: Any, api: Api, *, undecided: bool, data: Any) -> None:
    """Any object that was verified is read without an exception, with any status beside it."""
    tree = data.draw(changed(_BODY)) if not isinstance(body, dict) else body
    status = data.draw(st.integers(100, 599))
    if isinstance(tree, dict):
        result = read(
            api,
            Answer(body=tree, verified=True, http_status=status),
            request=request_of(api.step),
            undecided_before=undecided,
        )
        check(result, believed=True)


_GOOD: Final = answer(result_body())


@st.composite
def _wire(draw: Draw) -> bytes:
    """Bytes that began as an answer over HTTP/1.1, signed rightly."""
    heads = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + _GOOD,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nto the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 9_000 + b"\r\n\r\n",
        b"HTTP/9.9 999 \xff\r\n\r\n",
        b"SSH-2.0-x\r\n",
    )
    return draw(torn(draw(st.just(_GOOD) | st.sampled_from(heads)), most=4))


@pytest.mark.wire
@door("hub", examples=120, reply=_wire())
def test_any_bytes_on_the_wire_have_a_result(reply: bytes) -> None:
    """Bytes of any kind from a socket: done only from the very answer that was signed, else no answer."""

    async def replying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)

    async def work() -> Result:
        async with serving(replying) as port, hub_at(port, timeout_ms=1_000) as hub:
            return await hub.perform(call(), unbinding(), Gate())

    result = asyncio.run(work())
    check(result, believed=result.verified)
    if result.verified:
        assert result.result_class is ResultClass.DONE
        assert result_body() in reply
