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

from abc import ABC
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from worker.hub.trust import ResumingContext, tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection

    from worker.hub.counterparts import Counterpart

GATE: Final = "gate"
"""The request extension that holds the gate; see GatedTransport."""

_NO_TIME_LIMITS: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_FAULTS: Final = (aiohttp.ClientError, HttpProcessingError, OSError)


class GatedTransport(httpx.AsyncBaseTransport, ABC):
    """A transport that calls ``request.extensions["gate"]`` last: connected, right before the first byte.

    What the gate raises passes through. Where no gate was passed, nothing has left.
    """


class _Departure:
    """Whether a request's bytes may have begun to leave."""

    __slots__ = ("begun", "gate")

    def __init__(self, gate: Callable[[], None] | None) -> None:
        self.gate = gate
        self.begun = False


_departure: ContextVar[_Departure] = ContextVar("departure")


class _GatedRequest(aiohttp.ClientRequest):
    """Passes the gate between connection and first byte: ``send`` gets the one and begins with the other."""

    # aiohttp's way to leave a default out; without it, a body gets a Content-Type.
    _skip_auto_headers = CIMultiDict({"Content-Type": None})

    @override
    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add none: what the caller gave is all that goes."""

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        departure = _departure.get()
        if departure.begun:
            # aiohttp repeats methods that it takes for idempotent (not POST) when a connection is lost.
            raise aiohttp.ClientConnectionError("the connection was lost, and no request is sent twice here")
        if conn.protocol is None or conn.protocol.should_close:
            # Unasked bytes are waiting in it: they would be read as the answer to this request.
            raise aiohttp.ClientConnectionError("the kept connection had unasked data in it")
        if departure.gate is not None:
            departure.gate()
        departure.begun = True
        return await super().send(conn)


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


class AiohttpTransport(GatedTransport):
    """One counterpart's connections: kept alive, the freshest used first, TLS sessions resumed.

    No redirects, no cookies, no proxies from the environment, no headers of its own; the URL goes out byte
    for byte. Time limits are the caller's (``asyncio.timeout``), or httpx's request extension ``timeout``.
    """

    def __init__(self, *, in_flight: int, tls: ResumingContext | None) -> None:
        """Prepare at most ``in_flight`` connections; must be called inside the running loop."""
        self._tls: ResumingContext | bool = True if tls is None else tls
        self._session = aiohttp.ClientSession(
            connector=_FreshestFirst(limit=in_flight),
            request_class=_GatedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=_NO_TIME_LIMITS,
            trust_env=False,
        )
        self._urls: dict[str, URL] = {}

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = request.stream
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        departure = _Departure(request.extensions.get(GATE))
        token = _departure.set(departure)
        try:
            answer = await self._session.request(
                request.method,
                self._url(request.url),
                headers=_header_texts(request.headers),
                data=body or None,
                allow_redirects=False,
                ssl=self._tls,
                timeout=_time_limits(request.extensions.get("timeout")),
            )
        except aiohttp.InvalidURL as error:
            raise httpx.UnsupportedProtocol(
                f"this address cannot be called: {type(error).__name__}"
            ) from None
        except _FAULTS as error:
            raise (_after_departure(error) if departure.begun else _before_departure(error)) from None
        finally:
            _departure.reset(token)
        return httpx.Response(
            answer.status, headers=answer.raw_headers, stream=_AnswerStream(answer), request=request
        )

    @override
    async def aclose(self) -> None:
        await self._session.close()

    def _url(self, url: httpx.URL) -> URL:
        text = str(url)
        known = self._urls.get(text)
        if known is None:
            known = URL(text, encoded=True)
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
