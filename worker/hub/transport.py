"""A thin httpx transport over aiohttp, which knows for each failure whether anything can have been sent.

httpx's own pool costs 30 times the CPU of aiohttp's (it looks through all connections for each request), and
the ready-made bridges report a server that read the request and hung up as a failed connection. So:

    before the gate    httpx.ConnectTimeout, httpx.ConnectError    nothing has left
    after it           httpx.ReadTimeout                           time was up
                       httpx.RemoteProtocolError                   hung up, or no complete HTTP
                       httpx.ReadError                             reset, or another fault of the line
    at any time        httpx.UnsupportedProtocol, httpx.LocalProtocolError    no such request can be sent
"""

from __future__ import annotations

import asyncio
from abc import ABC
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

import aiohttp
import httpx
from aiohttp import hdrs
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from worker.hub.trust import ResumingContext, tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.typedefs import LooseHeaders

    from worker.hub.counterparts import Counterpart

GATE: Final = "gate"
"""The request extension that holds the gate; see GatedTransport."""

_NO_TIME_LIMITS: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_FAULTS: Final = (aiohttp.ClientError, HttpProcessingError, OSError)


class Reply(NamedTuple):
    """The head of an answer, and the stream of its raw body; who got it must read or close it."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    stream: httpx.AsyncByteStream


class GatedTransport(httpx.AsyncBaseTransport, ABC):
    """A transport that calls ``request.extensions["gate"]`` last: connected, right before the first byte.

    What the gate raises passes through. Where no gate was passed, nothing has left.
    """


class _Request(aiohttp.ClientRequest):
    """Passes the gate between connection and first byte: ``send`` gets the one and begins with the other."""

    gate: Callable[[], None] | None = None
    begun = False
    """Whether its bytes may have begun to leave."""
    refusal: BaseException | None = None
    """What the gate raised."""
    # aiohttp's way to leave a default out; without it, a body gets a Content-Type.
    _skip_auto_headers = CIMultiDict({"Content-Type": None})

    @override
    def update_headers(self, headers: LooseHeaders | None) -> None:
        """Take them as they are, in their order; a host is added only where none is named."""
        self.headers = CIMultiDict(headers or ())
        if hdrs.HOST not in self.headers:
            super().update_headers(headers)

    @override
    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add none: what the caller gave is all that goes."""

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if not self._body:
            self._pass()
        return await super().send(conn)

    @override
    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write head and body: the gate comes here, because before Python 3.12 this is a task of its own.

        A refusal is kept for the caller, who waits for the answer: it is told that there will be none.
        """
        try:
            self._pass()
        except BaseException as refusal:  # noqa: BLE001 - whatever a gate raises is the caller's
            self.refusal = refusal
            if conn.protocol is not None:
                conn.protocol.set_exception(aiohttp.ClientConnectionError("the gate was shut"))
            return
        await super().write_bytes(writer, conn, content_length)

    def _pass(self) -> None:
        if self.gate is not None:
            self.gate()
        self.begun = True


class _FreshestFirst(aiohttp.TCPConnector):
    """Takes the connection that was used last, so that others grow old and are closed by us, not under us.

    (aiohttp takes the oldest: after a burst all stay half idle, each a chance to meet the server's time-out.)
    """

    @override
    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if key.is_ssl and isinstance(key.ssl, ResumingContext) and protocol.transport is not None:
            key.ssl.last_session = protocol.transport.get_extra_info("ssl_object").session
        super()._release(key, protocol, should_close=should_close)
        kept = self._conns.get(key)
        if kept and kept[-1][0] is protocol:
            kept.rotate(1)


class _AnswerStream(httpx.AsyncByteStream):
    """The raw body as it comes in, neither decompressed nor bounded."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._answer.content.readany()
        except _FAULTS as error:
            raise _after_departure(error) from None
        if not piece:
            raise StopAsyncIteration
        return piece

    @override
    async def aclose(self) -> None:
        # At the body's end the connection went back by itself; before it, it is of no more use.
        if not self._answer.content.at_eof():
            self._answer.close()


@final
class AiohttpTransport(GatedTransport):
    """One counterpart's connections: kept alive, the freshest used first, TLS sessions resumed.

    No redirects, no cookies, no proxies from the environment, no headers of its own; the URL goes out byte
    for byte. Time limits are the caller's (``asyncio.timeout``), or httpx's request extension ``timeout``.
    """

    def __init__(self, *, in_flight: int, tls: ResumingContext | None) -> None:
        """Prepare at most ``in_flight`` connections; must be called inside the running loop."""
        self._tls: ResumingContext | bool = True if tls is None else tls
        self._loop = asyncio.get_running_loop()
        self._connector = _FreshestFirst(limit=in_flight)
        self._urls: dict[str, URL] = {}

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = request.stream
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        reply = await self.send(
            request.method,
            request.url,
            headers=_header_texts(request.headers),
            body=body,
            gate=request.extensions.get(GATE),
            time_limits=_time_limits(request.extensions.get("timeout")),
        )
        return httpx.Response(reply.status, headers=list(reply.headers), stream=reply.stream, request=request)

    async def send(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        gate: Callable[[], None] | None,
        time_limits: aiohttp.ClientTimeout = _NO_TIME_LIMITS,
    ) -> Reply:
        """Send a request, return at the answer's head: ``handle_async_request`` without httpx's two objects.

        These cost about a sixth of an attempt's CPU (without RSA). ``headers`` are ASCII and go as given.
        Raises what ``handle_async_request`` raises.
        """
        if self._connector.closed:
            raise RuntimeError("this transport is closed: no request can be sent any more")
        request = _Request(
            method, self._url(url), headers=headers, data=body or None, loop=self._loop, ssl=self._tls
        )
        request.gate = gate
        try:
            answer = await self._answer(request, time_limits)
        except _FAULTS as error:
            raise (_after_departure(error) if request.begun else _before_departure(error)) from None
        return Reply(answer.status, answer.raw_headers, _AnswerStream(answer))

    @override
    async def aclose(self) -> None:
        await self._connector.close()

    async def _answer(self, request: _Request, time_limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Do what aiohttp's session does, less what a call here may not have and would pay for in CPU.

        (Repetitions of what was lost, redirects, cookies, proxies.)
        """
        connection = await self._connector.connect(request, traces=[], timeout=time_limits)
        try:
            _expect_answer(connection, request.method, read_timeout=time_limits.sock_read)
            answer = await request.send(connection)
            try:
                return await answer.start(connection)
            except BaseException as error:
                answer.close()
                if request.refusal is not None and isinstance(error, Exception):
                    raise request.refusal from None
                raise
        except BaseException:
            connection.close()
            raise

    def _url(self, url: httpx.URL) -> URL:
        text = str(url)
        known = self._urls.get(text)
        if known is None:
            known = URL(text, encoded=True)
            if known.scheme not in {"http", "https"} or not known.raw_host:
                raise httpx.UnsupportedProtocol(
                    f"this address cannot be called: scheme {known.scheme!r}; expected http(s)://HOST"
                )
            if known.raw_path_qs.encode("ascii") != url.raw_path:
                raise httpx.LocalProtocolError(
                    f"the path {url.raw_path!r} would not go over the wire as it stands: percent-encode it"
                )
            self._urls[text] = known
        return known


def connect(counterpart: Counterpart) -> AiohttpTransport:
    """Make the transport for one counterpart, inside the running loop. Raises CounterpartUnusable."""
    tls = tls_context(counterpart) if counterpart.base_url.startswith("https:") else None
    return AiohttpTransport(in_flight=counterpart.in_flight, tls=tls)


def _expect_answer(connection: Connection, method: str, *, read_timeout: float | None) -> None:
    """Prepare a connection for one answer. Raises ClientConnectionError for one that is of no more use."""
    protocol = connection.protocol
    if protocol is None or protocol.should_close:
        # Unasked bytes are waiting in it: they would be read as the answer to this request.
        raise aiohttp.ClientConnectionError("the kept connection had unasked data in it")
    protocol.set_response_params(
        skip_payload=method == hdrs.METH_HEAD,
        read_until_eof=True,
        auto_decompress=False,
        read_timeout=read_timeout,
    )


def _header_texts(headers: httpx.Headers) -> list[tuple[str, str]]:
    try:
        return [(name.decode("ascii"), value.decode("ascii")) for name, value in headers.raw]
    except UnicodeDecodeError:
        raise httpx.LocalProtocolError("a header of this request is not ASCII text") from None


def _time_limits(extension: dict[str, Any] | None) -> aiohttp.ClientTimeout:
    if extension is None:
        return _NO_TIME_LIMITS
    return aiohttp.ClientTimeout(
        total=None, connect=extension.get("connect"), sock_read=extension.get("read")
    )


def _before_departure(error: Exception) -> httpx.TransportError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
        return httpx.ConnectTimeout("no connection in time")
    return httpx.ConnectError(f"no connection: {_named(cause)}")


def _after_departure(error: Exception) -> httpx.TransportError:
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout("no answer in time")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx.RemoteProtocolError("hung up without an answer")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | HttpProcessingError):
        # Not the error's own text: it quotes what came in.
        return httpx.RemoteProtocolError("what came back is no complete HTTP answer")
    return httpx.ReadError(f"the connection broke: {_named(error)}")


def _named(error: BaseException) -> str:
    """Name an error by its kind and, for one of the system's, the system's words; never by received text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__} ({error.strerror})"
    return type(error).__name__
