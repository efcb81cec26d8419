"""Clients of the cluster: opened when needed, given up when nothing is heard, closed without hanging.

aiokafka 0.14 leaves this to us. It asks the configured addresses at its start, and afterwards only those
that the brokers named then: a cluster that comes back under other addresses would never be found again. It
keeps a connection whose other end has gone without a word for as long as nobody waits long enough for an
answer. And its `close` waits for a peer that may not listen any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason

from worker.kafka.connection import client_arguments
from worker.kafka.reachability import explained

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aiokafka.protocol.api import Request

    from worker.kafka.connection import Connection

_DEAF_S: Final = 5.0
"""Without any answer for so long, a client is given up and the configured addresses are asked again."""
_DEAF_SHARE: Final = 0.5
"""A request given up after so much of the limit shows that its connection leads nowhere."""
_CLOSE_S: Final = 1.0

_aiokafka_send: Callable[..., Awaitable[Any]] = AIOKafkaConnection.send


def _send(
    self: AIOKafkaConnection,
    request: Request[Any],
    expect_response: bool = True,
) -> Awaitable[Any]:
    """Send, and treat a connection that uvloop has closed as what it is.

    uvloop's transports raise RuntimeError where asyncio's stay silent (aio-libs/aiokafka#1038). For a moment
    after each broken connection that error came out of every call, and ended aiokafka's own tasks for good.
    """
    try:
        return _aiokafka_send(self, request, expect_response)
    except kafka.KafkaError:
        raise
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise kafka.KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from error


AIOKafkaConnection.send = _send  # type: ignore[method-assign]  # mended for all clients, producers too


class ClientKeeper:
    """Keeps one client of the cluster for a reader."""

    def __init__(self, connection: Connection, *, role: str, limit_ms: int) -> None:
        """Open nothing yet. ``limit_ms``: how long finding the cluster may take."""
        self._connection = connection
        self._role = role
        self._limit_s = limit_ms / 1000
        self._client: AIOKafkaClient | None = None
        self._starting = asyncio.Lock()
        self._endings: set[asyncio.Task[None]] = set()
        self._deaf_since: float | None = None

    @property
    def current(self) -> AIOKafkaClient | None:
        """The client that is open now."""
        return self._client

    async def ready(self) -> AIOKafkaClient:
        """Return a client that has found the cluster. Raises KafkaError, OSError or TimeoutError."""
        async with self._starting:
            if self._client is None:
                client = AIOKafkaClient(**client_arguments(self._connection, role=self._role))
                starting = asyncio.create_task(client.bootstrap())
                try:
                    async with asyncio.timeout(self._limit_s):
                        await asyncio.shield(starting)
                except BaseException as error:
                    # Cancelled inside, aiokafka would forget its first connection without closing it.
                    self._later(_end(client, starting))
                    if isinstance(error, kafka.KafkaConnectionError):
                        raise await explained(error, self._connection) from None
                    raise
                self._client = client
                self._deaf_since = None
            return self._client

    async def send(
        self, node: int, request: Request[Any], *, group: ConnectionGroup = ConnectionGroup.DEFAULT
    ) -> Any:
        """Send to a broker and return its answer. Raises KafkaError, OSError or TimeoutError."""
        client = await self.ready()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await client.send(node, request, group=group)
        except asyncio.CancelledError:
            if loop.time() - began >= self._limit_s * _DEAF_SHARE:
                _hang_up(client, node, group)
            raise
        except (kafka.KafkaError, OSError, TimeoutError):
            self._missed(client)
            raise
        except KeyError as error:
            # Another request has just given the same connection up, and aiokafka looks for it once more.
            self._missed(client)
            raise kafka.NodeNotReadyError(f"the connection to node {node} is being made anew") from error
        self._deaf_since = None
        return answer

    def give_up(self, client: AIOKafkaClient | None) -> None:
        """Let this client go, unless it has gone: the next one starts from the configured addresses."""
        if client is not None and client is self._client:
            self._client = None
            self._later(close_client(client))

    async def close(self) -> None:
        """Close the connections."""
        self.give_up(self._client)
        if self._endings:
            await asyncio.wait(self._endings)

    def _missed(self, client: AIOKafkaClient) -> None:
        now = asyncio.get_running_loop().time()
        if self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since >= _DEAF_S:
            self.give_up(client)

    def _later(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


def _hang_up(client: AIOKafkaClient, node: int, group: ConnectionGroup) -> None:
    connection = client._conns.get((node, group))  # noqa: SLF001 - there is no public way to close one
    if connection is not None:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


async def close_client(client: AIOKafkaClient) -> None:
    """Close a client's connections within about two seconds, whatever the other ends do; never raises."""
    transports = [
        connection._writer.transport  # noqa: SLF001 - there is no public way to abort one
        for connection in client._conns.values()  # noqa: SLF001 - as above
        if connection._writer is not None  # noqa: SLF001 - as above
    ]
    closing = asyncio.create_task(client.close())
    _done, late = await asyncio.wait([closing], timeout=_CLOSE_S)
    if late:
        # The other end reads nothing, so the last bytes, of TLS for instance, cannot leave.
        for transport in transports:
            transport.abort()
        await asyncio.wait(late, timeout=_CLOSE_S)
    if not closing.done():
        closing.cancel()
        await asyncio.wait([closing])
    if not closing.cancelled():
        closing.exception()  # what its own tasks died of; they are gone now


async def _end(client: AIOKafkaClient, starting: asyncio.Task[None]) -> None:
    await asyncio.wait([starting])
    if not starting.cancelled():
        starting.exception()  # told already, or the time limit was
    await close_client(client)
