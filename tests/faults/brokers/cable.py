"""A cable between a worker and a broker: TCP on loopback that is cut, held, slowed, or loses answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST: Final = "127.0.0.1"
END_TXN: Final = 26
"""Kafka's API keys, as far as tests name them."""
FETCH: Final = 1
METADATA: Final = 3
_CHUNK: Final = 65_536
_DRIP_S: Final = 0.05
_CLOSING_S: Final = 0.05
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time left: closing resets the connection."""


class Way(Enum):
    """One direction of a cable."""

    OUT = "from the worker to the broker"
    BACK = "from the broker to the worker"


class Cable:
    """Listens on `port` and carries every connection to the broker; made by `lay_cable`."""

    def __init__(self, *, target: int, framed: bool) -> None:
        """Take the broker's port. Only on a `framed` cable, one without TLS, are single requests known."""
        self.target = target
        self.port = 0
        self.carried: Counter[int] = Counter()
        """Requests that went out, by API key, if framed."""
        self.held: Counter[int] = Counter()
        """Requests that were ever held back or lost their answers, by API key."""
        self._framed = framed
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unplugged = False
        self._open = {way: asyncio.Event() for way in Way}
        self._rate: int | None = None
        self._apis: dict[int, asyncio.Event] = {}
        self._deaf: set[int] = set()
        for way in Way:
            self._open[way].set()

    @property
    def address(self) -> str:
        """Its end at the worker."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections it carries now."""
        return len(self._pairs)

    async def start(self, *, port: int = 0) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, HOST, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for pair in list(self._pairs):
            pair.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(_CLOSING_S)  # uvloop closes the sockets in its own steps

    def reset(self) -> None:
        """Break every connection at once (RST); new ones are carried."""
        for pair in list(self._pairs):
            pair.reset()

    def cut(self) -> None:
        """Break every connection and reset each new one, until `mend`."""
        self._unplugged = True
        self.reset()

    def swallow(self, *ways: Way) -> None:
        """Carry nothing more in these directions (both, if none is named); connections stay, until `mend`."""
        for way in ways or tuple(Way):
            self._open[way].clear()

    def forget(self) -> None:
        """Carry nothing more on the connections of now, for ever, and tell nobody; new ones are carried."""
        for pair in self._pairs:
            pair.forgotten = True

    def half_close(self) -> None:
        """Say "no more to come" (FIN) to the worker on every connection; what it sends is carried on."""
        for pair in list(self._pairs):
            pair.half_close()

    def drip(self, *, per_second: int) -> None:
        """Carry so many bytes in a second and connection in each direction, until `mend`."""
        self._rate = per_second

    def hold(self, api: int) -> None:
        """Keep requests of this kind back, and what comes after them on their connections, until `mend`."""
        self._apis[api] = asyncio.Event()

    def lose_answers(self, api: int) -> None:
        """Carry requests of this kind, and drop their answers, until `mend`."""
        self._deaf.add(api)

    def mend(self) -> None:
        """Carry everything again, what was held back too."""
        self._unplugged = False
        self._rate = None
        self._deaf.clear()
        for way in Way:
            self._open[way].set()
        for event in self._apis.values():
            event.set()
        self._apis.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._unplugged:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(self, writer, far_writer)
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(pair.forward(reader, far_writer, Way.OUT)),
            asyncio.create_task(pair.forward(far_reader, writer, Way.BACK)),
        ]
        try:
            await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._pairs.discard(pair)
            pair.end()

    async def passes(self, way: Way, size: int) -> None:
        """Wait until the cable carries so many bytes."""
        if self._rate is not None:
            await asyncio.sleep(size / self._rate)
        await self._open[way].wait()

    async def lets_out(self, api: int) -> bool:
        """Count a request, wait while its kind is held back; tell whether its answer shall be lost."""
        self.carried[api] += 1
        gate = self._apis.get(api)
        if gate is not None:
            self.held[api] += 1
            await gate.wait()
        if api in self._deaf:
            self.held[api] += 1
            return True
        return False

    @property
    def framed(self) -> bool:
        """Whether requests are told apart."""
        return self._framed

    @property
    def chunk(self) -> int:
        """How many bytes go at once."""
        return _CHUNK if self._rate is None else max(1, int(self._rate * _DRIP_S))


class _Pair:
    """One connection of a worker, and its continuation to the broker."""

    def __init__(self, cable: Cable, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._cable = cable
        self._near = near
        self._far = far
        self._lost: set[bytes] = set()
        self.forgotten = False

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Carry one direction to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._cable.framed:
                await self._forward_frames(reader, writer, way)
            else:
                while data := await reader.read(_CHUNK):
                    await self._write(data, writer, way)
        self._end_of(way)

    async def _forward_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big"))
            # A request: API key, version, correlation id; an answer begins with the correlation id.
            if way is Way.OUT:
                if await self._cable.lets_out(int.from_bytes(body[:2], "big")):
                    self._lost.add(body[4:8])
            elif body[:4] in self._lost:
                self._lost.discard(body[:4])
                continue
            await self._write(head + body, writer, way)

    async def _write(self, data: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        at = 0
        while at < len(data):
            part = data[at : at + self._cable.chunk]
            at += len(part)
            await self._cable.passes(way, len(part))
            if self.forgotten:
                await asyncio.get_running_loop().create_future()
            writer.write(part)
            await writer.drain()

    def _end_of(self, way: Way) -> None:
        """Pass an end on: the other side closes then by itself."""
        writer = self._far if way is Way.OUT else self._near
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    def half_close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._near.write_eof()

    def reset(self) -> None:
        _reset(self._near)
        _reset(self._far)

    def end(self) -> None:
        self._near.close()
        self._far.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@asynccontextmanager
async def lay_cable(*, target: int, port: int = 0, framed: bool = True) -> AsyncIterator[Cable]:
    """Give a cable to the broker that listens on this port, until the block ends."""
    cable = Cable(target=target, framed=framed)
    await cable.start(port=port)
    try:
        yield cable
    finally:
        await cable.close()
