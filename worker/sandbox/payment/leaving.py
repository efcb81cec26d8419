"""How an answer leaves over the wire, or fails to: whole, half, byte by byte, not at all."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from worker.sandbox.payment.behaviour import Behaviour, Leaving
from worker.sandbox.payment.ledger import Ending

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_JUNK: Final = b"\x00\x16\x03 this is not HTTP at all\r\n\r\n"
_ODD_CHUNKS: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n-1\r\n"
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


async def leave(
    request: web.BaseRequest,
    behaviour: Behaviour,
    *,
    body: bytes,
    headers: Mapping[str, str],
    closing: asyncio.Event,
) -> tuple[web.StreamResponse, Ending]:
    """Let the answer out as the behaviour says; returns when all of it is out, or nothing more will come.

    ``closing`` is set when the sandbox shuts down: it frees calls that hang. Raises ConnectionError and
    CancelledError when the caller has left.
    """
    match behaviour.leaving:
        case Leaving.SENT | Leaving.REDIRECTED:
            return await _send(request, behaviour, body=body, headers=headers)
        case Leaving.HALF:
            return await _send_half(request, behaviour, body=body, headers=headers)
        case Leaving.TRICKLED:
            return await _trickle(request, behaviour, body=body, headers=headers)
        case Leaving.HUNG:
            await closing.wait()
            return _hang_up(request), Ending.SANDBOX_STOPPED
        case Leaving.CLOSED:
            return _hang_up(request), Ending.LOST
        case Leaving.RESET:
            return _reset(request), Ending.RESET
        case Leaving.INTERIM:
            _write(request, _INTERIM)
            return await _send(request, behaviour, body=body, headers=headers)
        case Leaving.OVERLONG:
            _write(request, _overlong(behaviour, body=body, headers=headers))
            return _hang_up(request), Ending.JUNK
        case Leaving.JUNK:
            _write(request, _JUNK)
            return _hang_up(request), Ending.JUNK
        case Leaving.ODD_CHUNKS:
            _write(request, _ODD_CHUNKS)
            return _hang_up(request), Ending.JUNK


async def _send(
    request: web.BaseRequest, behaviour: Behaviour, *, body: bytes, headers: Mapping[str, str]
) -> tuple[web.StreamResponse, Ending]:
    response = web.Response(status=behaviour.http_status, body=body, headers=headers)
    await response.prepare(request)
    await response.write_eof()
    return response, Ending.ANSWERED


async def _send_half(
    request: web.BaseRequest, behaviour: Behaviour, *, body: bytes, headers: Mapping[str, str]
) -> tuple[web.StreamResponse, Ending]:
    response = await _begin(request, behaviour, body=body, headers=headers)
    await response.write(body[: len(body) // 2])
    _hang_up(request)
    return response, Ending.HALF


async def _trickle(
    request: web.BaseRequest, behaviour: Behaviour, *, body: bytes, headers: Mapping[str, str]
) -> tuple[web.StreamResponse, Ending]:
    response = await _begin(request, behaviour, body=body, headers=headers)
    for place in range(len(body)):
        await response.write(body[place : place + 1])
        await asyncio.sleep(behaviour.trickle_ms / 1000)
    await response.write_eof()
    return response, Ending.ANSWERED


async def _begin(
    request: web.BaseRequest, behaviour: Behaviour, *, body: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=behaviour.http_status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    return response


def _overlong(behaviour: Behaviour, *, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {behaviour.http_status} Whatever", f"Content-Length: {len(body) // 2}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _write(request: web.BaseRequest, raw: bytes) -> None:
    if request.transport is not None:
        request.transport.write(raw)


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # Without lingering the system sends RST instead of FIN; a caller that has left already needs neither.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()
    return web.Response()
