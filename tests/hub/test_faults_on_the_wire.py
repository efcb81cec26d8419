from __future__ import annotations

import asyncio
import socket
import struct

import httpx
import pytest

from contracts.states import Outcome
from tests.hub.payside import (
    Gate,
    Handler,
    Received,
    Script,
    answer,
    call,
    http,
    hub_at,
    read_request,
    result_body,
    serving,
    settled,
    signed,
    unbinding,
    until,
)
from worker.hub.transport import AiohttpTransport
from worker.saga.results import Result, ResultClass

pytestmark = [pytest.mark.wire, pytest.mark.promise("P3")]

GOOD = answer(result_body())


def undecided(result: Result) -> bool:
    """Tell whether the result is that of a request that may have arrived, without an answer."""
    return (
        result.result_class is ResultClass.SOON
        and result.outcome is Outcome.UNKNOWN
        and result.code == "NO_ANSWER"
        and result.undecided
        and not result.verified
    )


async def _hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n")


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(GOOD[:-10])


async def _half_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(GOOD[:40])


async def _bad_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n")


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    for byte in GOOD:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    "handler",
    [_hang_up, _reset, _junk, _half, _half_head, _bad_chunk, _silent, _trickle, _endless],
)
async def test_once_the_request_was_read_every_fault_is_undecided(
    handler: Handler,
) -> None:
    """A server that read the request may have worked on it, however badly it answers."""
    gate = Gate()
    async with serving(handler) as port, hub_at(port, timeout_ms=300) as hub:
        async with asyncio.timeout(3):
            result = await hub.perform(call(), unbinding(), gate)
    assert undecided(result), result
    assert gate.passed == 1


async def test_a_long_answer_is_cut_off_at_once() -> None:
    """A body beyond the bound is given up without waiting for the time limit."""
    async with serving(_endless) as port, hub_at(port, timeout_ms=60_000) as hub:
        async with asyncio.timeout(5):
            result = await hub.perform(call(), unbinding(), Gate())
    assert undecided(result)
    assert result.message is not None
    assert "longer than" in result.message


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_not_sent() -> None:
    """Nobody listens: nothing has left, the gate was never asked, the call is not undecided."""
    gate = Gate()
    async with hub_at(_free_port()) as hub:
        result = await hub.perform(call(quick=1), unbinding(), gate)
    assert (result.result_class, result.code) == (ResultClass.SOON, "NOT_SENT")
    assert (result.undecided, result.tries, gate.passed) == (False, 2, 0)


async def test_a_name_that_cannot_be_found_is_not_sent() -> None:
    """A failed look-up is a failed connection."""
    gate = Gate()
    async with hub_at(443, base_url="https://no-such-host.invalid", timeout_ms=20_000) as hub:
        result = await hub.perform(call(), unbinding(), gate)
    assert (result.code, result.undecided, gate.passed) == ("NOT_SENT", False, 0)


async def test_a_lost_kept_connection_is_not_repeated_in_silence() -> None:
    """When a kept connection dies under a POST the request is sent once, and the call is undecided."""
    received: list[Received] = []

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            received.append(request)
            if len(received) == 2:
                return
            writer.write(GOOD)

    async with serving(one_answer) as port, hub_at(port) as hub:
        first = await hub.perform(call(), unbinding(), Gate())
        gate = Gate()
        second = await hub.perform(call(), unbinding(), gate)
    assert first.result_class is ResultClass.DONE
    assert undecided(second)
    assert (len(received), gate.passed) == (2, 1)


async def test_the_transport_never_repeats_other_methods_either() -> None:
    """Aiohttp repeats a GET on a lost connection; under this transport it may not."""
    lines: list[bytes] = []

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines.append(head)
            if len(lines) == 2:
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        serving(one_answer) as port,
        httpx.AsyncClient(transport=AiohttpTransport(in_flight=4, tls=None)) as client,
    ):
        await client.get(f"http://127.0.0.1:{port}/")
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await client.get(f"http://127.0.0.1:{port}/")
    assert len(lines) == 2


async def test_a_connection_that_the_server_closed_is_not_used() -> None:
    """A connection closed while it was idle is replaced, and the call is made on a new one."""
    closed = asyncio.Event()
    script = Script([GOOD])

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        request = await read_request(reader)
        if request is not None:
            writer.write(GOOD)
            await writer.drain()
        closed.set()

    async with serving(closing) as port, hub_at(port) as hub:
        first = await hub.perform(call(), unbinding(), Gate())
        await closed.wait()
        await settled()
        second = await hub.perform(call(), unbinding(), Gate())
    assert first.result_class is second.result_class is ResultClass.DONE
    assert script.connections == 2


async def test_unasked_bytes_are_never_taken_for_an_answer() -> None:
    """A second answer that nobody asked for, waiting in a kept connection, is not read as the next call's."""
    tricked = asyncio.Event()
    received: list[Received] = []

    async def doubling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            received.append(request)
            if len(received) > 1:
                writer.write(answer(result_body("F", "PROCESS_FAIL")))
                continue
            writer.write(GOOD)
            await tricked.wait()
            writer.write(GOOD)

    async with serving(doubling) as port, hub_at(port) as hub:
        await hub.perform(call(), unbinding(), Gate())
        tricked.set()
        await settled()
        second = await hub.perform(call(quick=1), unbinding(), Gate())
    assert second.result_class is ResultClass.FINAL
    assert second.code == "PROCESS_FAIL"


async def test_the_freshest_connection_is_used_first() -> None:
    """After a burst, single calls stay on the connection that was used last."""
    ports: list[int] = []
    together = asyncio.Barrier(3)
    burst = True

    async def noting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            ports.append(writer.get_extra_info("peername")[1])
            if burst:
                await together.wait()
            writer.write(GOOD)

    async with serving(noting) as port, hub_at(port) as hub:
        await asyncio.gather(*(hub.perform(call(), unbinding(), Gate()) for _ in range(3)))
        burst = False
        for _ in range(4):
            await hub.perform(call(), unbinding(), Gate())
    assert len(set(ports[:3])) == 3
    assert len(set(ports[3:])) == 1


async def test_cancelled_while_waiting_for_the_answer_frees_the_way() -> None:
    """Cancellation comes out as such, and the limits are free again."""
    script = Script([GOOD])
    silent = True

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if silent:
            await _silent(reader, writer)
        else:
            await script(reader, writer)

    gate = Gate()
    async with serving(handler) as port, hub_at(port, in_flight=1) as hub:
        task = asyncio.create_task(hub.perform(call(), unbinding(), gate))
        await until(lambda: gate.passed == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        silent = False
        result = await hub.perform(call(), unbinding(), Gate())
    assert result.result_class is ResultClass.DONE


async def test_back_off_does_not_hold_the_limit() -> None:
    """While one call sleeps between its tries, another gets the only place."""
    script = Script([answer(result_body("U", "UNKNOWN_EXCEPTION")), GOOD])
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleeping(_: float) -> None:
        asleep.set()
        await wake.wait()

    async with serving(script) as port, hub_at(port, naps=sleeping, in_flight=1) as hub:
        first = asyncio.create_task(hub.perform(call(quick=1), unbinding(), Gate()))
        await asleep.wait()
        async with asyncio.timeout(5):
            second = await hub.perform(call(), unbinding(), Gate())
        wake.set()
        assert (await first).tries == 2
    assert second.result_class is ResultClass.DONE


async def test_at_most_in_flight_attempts_run_at_once() -> None:
    """A counterpart never has more requests at a time than its limit."""
    now, most = 0, 0
    full = asyncio.Event()

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        while await read_request(reader) is not None:
            now += 1
            most = max(most, now)
            if now == 3:
                full.set()
            await full.wait()
            await settled()
            now -= 1
            writer.write(GOOD)

    async with serving(counting) as port, hub_at(port, in_flight=3) as hub:
        results = await asyncio.gather(*(hub.perform(call(), unbinding(), Gate()) for _ in range(12)))
    assert {result.result_class for result in results} == {ResultClass.DONE}
    assert most == 3


async def test_an_interim_answer_is_passed_over() -> None:
    """100 Continue is no answer; the one after it is."""
    async with serving(Script([b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD])) as port, hub_at(port) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert result.result_class is ResultClass.DONE


async def test_no_text_of_an_answer_reaches_the_message_unverified() -> None:
    """What an unverified answer says is not quoted."""
    body = result_body(message="SECRET-WORDS")
    reply = http(body, [("Client-Id", "x"), *signed(body)[1:]])
    async with serving(Script([reply])) as port, hub_at(port) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert "SECRET-WORDS" not in (result.message or "")
