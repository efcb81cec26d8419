"""A door before the payment side that a test shuts, strikes dumb or gives another certificate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from worker.sandbox.local_kafka import free_ports

if TYPE_CHECKING:
    import ssl

_BYTES: Final = 65_536
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Front:
    """Passes connections on to a port of this machine. Make it inside the running loop, and close it."""

    def __init__(self, *, to_port: int, tls: ssl.SSLContext | None = None) -> None:
        """With ``tls`` the front speaks TLS to the caller and plain HTTP to the other side."""
        self.port = free_ports(nodes=1)[0].clients
        self.dumb = False
        """It takes connections and bytes, and passes nothing on."""
        self.rejects = False
        """It takes a connection, reads nothing and resets it."""
        self.taken = 0
        """Connections so far."""
        self._to_port = to_port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where callers find it."""
        return f"http{'' if self._tls is None else 's'}://127.0.0.1:{self.port}"

    async def open(self, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen (again), with another certificate if one is given."""
        self._tls = tls or self._tls
        self.dumb = self.rejects = False
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, backlog=1024
        )

    async def shut(self) -> None:
        """Listen no more, and reset what is connected: the next connection is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.tear()
        tasks = tuple(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tear(self) -> None:
        """Reset every connection there is."""
        for writer in tuple(self._writers):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served in a task")
        self.taken += 1
        self._open.add(task)
        self._writers.add(writer)
        try:
            if self.rejects:
                _reset(writer)
                return
            await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._open.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._to_port)
        back_task = asyncio.create_task(self._pipe(back, writer, silent=False))
        try:
            await self._pipe(reader, forth, silent=True)
        finally:
            back_task.cancel()
            forth.close()
            with contextlib.suppress(asyncio.CancelledError):
                await back_task

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, silent: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_BYTES):
                if silent and self.dumb:
                    continue
                writer.write(piece)
                await writer.drain()
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
