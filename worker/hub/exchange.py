"""One attempt at a header-signed API: sign, send, verify, and only then look into the body.

Source: Alipay+ "Signature" and "API overview" (wallet, MPP edition). What a transport raises is
mapped here, once.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final, Protocol

import httpx

from worker.crash_points import CrashPoint, pass_by
from worker.hub.answers import Answer, OwnCode, read_object, read_retry_after
from worker.hub.counterparts import endpoint
from worker.hub.errors import CounterpartUnusable
from worker.hub.transport import GATE, AiohttpTransport, GatedTransport, Reply
from worker.signing import SignatureError, sign_request, verify_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.states import Step
    from worker.crash_points import Passing
    from worker.hub.counterparts import Counterpart

LONGEST_ANSWER: Final = 256 * 1024
"""Bytes of a body that are taken in; the documented answers have at most about 20,000 characters."""

_METHOD: Final = "POST"
_NEVER_LEFT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MAY_HAVE_LEFT: Final = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    httpx.StreamError,
)


class _TooLong(Exception):
    """The body goes on beyond what is taken in."""


class _Passage:
    """The caller's gate, and whether it was passed: before that, nothing can have left."""

    __slots__ = ("_gate", "passed")

    def __init__(self, gate: Callable[[], None]) -> None:
        self._gate = gate
        self.passed = False

    def __call__(self) -> None:
        self._gate()
        self.passed = True


class _Send(Protocol):
    """One way to send a message, passing the gate last; raises httpx's errors."""

    async def __call__(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: list[tuple[str, str]],
        body: bytes,
        gate: Callable[[], None],
    ) -> Reply: ...


class HeaderExchange:
    """Performs attempts of one step at one counterpart, signed in the header."""

    def __init__(
        self,
        *,
        counterpart: Counterpart,
        step: Step,
        transport: httpx.AsyncBaseTransport,
        clock: Callable[[], int],
        passing: Passing = pass_by,
    ) -> None:
        """Check address and keys by signing once. Raises CounterpartUnusable."""
        self._passing = passing
        self._counterpart = counterpart
        self._endpoint = endpoint(counterpart, step)
        self._send = _sender(transport)
        self._clock = clock
        self._fixed_headers = (
            ("Host", self._endpoint.url.netloc.decode("ascii")),
            ("Content-Type", "application/json; charset=UTF-8"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
            ("Client-Id", counterpart.client_id),
        )
        self._time_limit_s = counterpart.timeout_ms / 1000
        try:
            self._signature(time=_time_text(clock()), body=b"")
            counterpart.public_keys.find(counterpart.client_id)
        except SignatureError as error:
            raise CounterpartUnusable(f"counterpart {counterpart.name}: {error}") from error

    async def attempt(self, body: bytes, gate: Callable[[], None]) -> Answer:
        """Send the body once, with a time and signature of its own; whatever comes back is an answer.

        The time limit is for the whole attempt, an answer in trickles included. What ``gate`` raises passes
        through: then nothing has left.
        """
        passage = _Passage(gate)
        headers = self._headers(body)
        try:
            async with asyncio.timeout(self._time_limit_s) as time_limit:
                reply = await self._send(
                    _METHOD, self._endpoint.url, headers=headers, body=body, gate=passage
                )
                content = await _bounded(reply.stream)
        except _NEVER_LEFT as error:
            return Answer(flaw=OwnCode.NOT_SENT, detail=str(error))
        except _MAY_HAVE_LEFT as error:
            return _unanswered(str(error), passed=passage.passed)
        except _TooLong:
            return _unanswered(f"the answer is longer than {LONGEST_ANSWER} bytes", passed=passage.passed)
        except TimeoutError:
            if not time_limit.expired():
                raise
            return _unanswered(f"not done within {self._counterpart.timeout_ms} ms", passed=passage.passed)
        self._passing(CrashPoint.ANSWERED)
        return self._judge(reply, content)

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        time = _time_text(self._clock())
        return [
            *self._fixed_headers,
            ("Content-Length", str(len(body))),
            ("Request-Time", time),
            ("Signature", self._signature(time=time, body=body)),
        ]

    def _signature(self, *, time: str, body: bytes) -> str:
        return sign_request(
            self._counterpart.signer,
            method=_METHOD,
            path=self._endpoint.path,
            client_id=self._counterpart.client_id,
            time=time,
            body=body,
            key_version=self._counterpart.key_version,
        )

    def _judge(self, reply: Reply, content: bytes) -> Answer:
        status = reply.status
        named = {name.lower(): value for name, value in reply.headers}
        retry_after_ms = read_retry_after(named.get(b"retry-after"), now_at=self._clock())
        try:
            verify_response(
                headers=reply.headers,
                method=_METHOD,
                path=self._endpoint.path,
                client_id=self._counterpart.client_id,
                body=content,
                keys=self._counterpart.public_keys,
            )
            unverified = "" if b"client-id" in named else "the response has no Client-Id header"
        except SignatureError as error:
            unverified = str(error)
        if unverified:
            return Answer(
                flaw=OwnCode.UNVERIFIED_ANSWER,
                detail=f"HTTP {status}: {unverified}",
                http_status=status,
                retry_after_ms=retry_after_ms,
            )
        body = read_object(content)
        return Answer(
            body=body,
            flaw=OwnCode.UNREADABLE_ANSWER if body is None else None,
            detail=f"HTTP {status}: the verified body is no JSON object" if body is None else "",
            verified=True,
            http_status=status,
            retry_after_ms=retry_after_ms,
        )


def _sender(transport: httpx.AsyncBaseTransport) -> _Send:
    """Choose our transport's direct way, or for any other the one through httpx's request and response."""
    if isinstance(transport, AiohttpTransport):
        return transport.send
    gated = isinstance(transport, GatedTransport)

    async def send(
        method: str,
        url: httpx.URL,
        *,
        headers: list[tuple[str, str]],
        body: bytes,
        gate: Callable[[], None],
    ) -> Reply:
        # As a stream: for content, httpx would go through all headers once more to add its own.
        request = httpx.Request(
            method, url, headers=headers, stream=httpx.ByteStream(body), extensions={GATE: gate}
        )
        if not gated:
            gate()
        response = await transport.handle_async_request(request)
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError(
                "the transport's answers cannot be read asynchronously: give an asynchronous transport"
            )
        return Reply(response.status_code, response.headers.raw, response.stream)

    return send


async def _bounded(stream: httpx.AsyncByteStream) -> bytes:
    """Take in the raw body: not decompressed, for raw is what was signed. Raises _TooLong."""
    pieces: list[bytes] = []
    length = 0
    try:
        async for piece in stream:
            length += len(piece)
            if length > LONGEST_ANSWER:
                raise _TooLong
            pieces.append(piece)
    finally:
        await stream.aclose()
    return b"".join(pieces)


def _unanswered(detail: str, *, passed: bool) -> Answer:
    return Answer(flaw=OwnCode.NO_ANSWER if passed else OwnCode.NOT_SENT, detail=detail)


def _time_text(at: int) -> str:
    """Write Request-Time: ISO 8601 with offset, in seconds (Alipay+, "API overview")."""
    return dt.datetime.fromtimestamp(at // 1000, dt.UTC).isoformat()
