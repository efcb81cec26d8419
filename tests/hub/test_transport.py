from __future__ import annotations

import asyncio

import httpx
import pytest
from typing_extensions import override

from tests.hub.payside import (
    NOW_AT,
    WALLET_APIS,
    Gate,
    Heard,
    Script,
    answer,
    call,
    counterpart,
    http,
    read_request,
    result_body,
    serving,
    signed,
    unbinding,
)
from worker.hub.client import open_hub
from worker.hub.transport import GATE, AiohttpTransport, GatedTransport
from worker.saga.results import Result, ResultClass


class Noting(httpx.AsyncBaseTransport):
    """Answers well, and notes how often the gate was passed when it was called, and when it answers."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed: list[int] = []

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.passed.append(self.gate.passed)
        if isinstance(self, GatedTransport):
            request.extensions[GATE]()
        self.passed.append(self.gate.passed)
        body = result_body()
        return httpx.Response(200, headers=signed(body), stream=httpx.ByteStream(body))


class NotingGated(Noting, GatedTransport):
    """Passes the gate by itself."""


async def _performed(transport: httpx.AsyncBaseTransport, gate: Gate) -> Result:
    async with open_hub(
        [counterpart("https://open.example")],
        apis=WALLET_APIS,
        in_flight=4,
        clock=lambda: NOW_AT,
        chance=lambda: 0.0,
        observer=Heard(),
        transport=lambda _: transport,
    ) as hub:
        return await hub.perform(call(), unbinding(), gate)


@pytest.mark.parametrize(("kind", "passed"), [(Noting, [1, 1]), (NotingGated, [0, 1])])
async def test_any_transport_can_be_given(kind: type[Noting], passed: list[int]) -> None:
    """An ordinary transport is called after the gate; a gated one passes it itself; once in either."""
    gate = Gate()
    transport = kind(gate)
    result = await _performed(transport, gate)
    assert result.result_class is ResultClass.DONE
    assert transport.passed == passed


async def test_both_ways_send_the_same_bytes() -> None:
    """A call through httpx's request and response goes out as one through the transport's direct way."""

    class Wrapped(GatedTransport):
        def __init__(self) -> None:
            self.inner = AiohttpTransport(in_flight=4, tls=None)

        @override
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await self.inner.handle_async_request(request)

        @override
        async def aclose(self) -> None:
            await self.inner.aclose()

    script = Script([answer(result_body())])
    async with serving(script) as port:
        for make in (Wrapped, lambda: AiohttpTransport(in_flight=4, tls=None)):
            gate = Gate()
            async with open_hub(
                [counterpart(f"http://127.0.0.1:{port}")],
                apis=WALLET_APIS,
                in_flight=4,
                clock=lambda: NOW_AT,
                chance=lambda: 0.0,
                observer=Heard(),
                transport=lambda _, make=make: make(),  # type: ignore[misc]  # mypy infers no default's type
            ) as hub:
                result = await hub.perform(call(), unbinding(), gate)
            assert (result.result_class, gate.passed) == (ResultClass.DONE, 1)
    first, second = script.received
    assert first == second


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "ws://127.0.0.1/a", "/a"])
async def test_an_address_that_is_no_web_address_is_refused(url: str) -> None:
    """Neither another scheme nor a missing host is called."""
    transport = AiohttpTransport(in_flight=4, tls=None)
    gate = Gate()
    with pytest.raises(httpx.UnsupportedProtocol, match="cannot be called"):
        await transport.handle_async_request(httpx.Request("POST", url, extensions={GATE: gate}))
    await transport.aclose()
    assert gate.passed == 0


async def test_a_closed_transport_says_so() -> None:
    """A request after the end is a fault of ours, and not taken for a lost connection."""
    transport = AiohttpTransport(in_flight=4, tls=None)
    await transport.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await transport.handle_async_request(httpx.Request("POST", "http://127.0.0.1/"))


async def test_httpx_time_limits_are_kept() -> None:
    """The request extension ``timeout`` ends the wait for an answer that does not come."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    limits = httpx.Timeout(5, read=0.05)
    async with (
        serving(silent) as port,
        httpx.AsyncClient(transport=AiohttpTransport(in_flight=4, tls=None), timeout=limits) as client,
    ):
        async with asyncio.timeout(3):
            with pytest.raises(httpx.ReadTimeout):
                await client.post(f"http://127.0.0.1:{port}/", content=b"{}")


async def test_an_answer_to_head_has_no_body() -> None:
    """A HEAD request's Content-Length announces nothing that would have to be waited for."""
    reply = http(b"", [("X-Length", "0")]).replace(b"Content-Length: 0", b"Content-Length: 7")

    async def head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await reader.read()

    async with (
        serving(head) as port,
        httpx.AsyncClient(transport=AiohttpTransport(in_flight=4, tls=None)) as client,
    ):
        response = await client.head(f"http://127.0.0.1:{port}/")
    assert (response.status_code, response.content) == (200, b"")
