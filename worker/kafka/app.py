"""The worker process as FastStream runs it: lifecycle, health and metrics over ASGI, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import uvicorn
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.kafka import KafkaBroker
from prometheus_client import make_asgi_app
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import CollectorRegistry

_LIVE = "/health/live"
_READY = "/health/ready"
_METRICS = "/metrics"


class Work(Protocol):
    """Something that runs as long as the process does: the pump, the follower of holds."""

    async def run(self) -> None:
        """Work until cancelled. An end or an error of its own ends the process."""
        ...

    async def stop(self) -> None:
        """Tidy up after `run` has ended."""
        ...


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling, which raises the signal again once the server has ended."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WorkerApp:
    """Runs all work under FastStream's lifecycle and serves health and metrics."""

    def __init__(
        self,
        *,
        work: Sequence[Work],
        troubles: Callable[[], Sequence[str]],
        registry: CollectorRegistry,
    ) -> None:
        """Take the work in the order of its start (it is stopped in reverse), and what makes it not ready."""
        self._work = tuple(work)
        self._troubles = troubles
        self._tasks: list[asyncio.Task[None]] = []
        self._server: uvicorn.Server | None = None
        self._error: BaseException | None = None
        # The lifecycle wants a broker; this one connects nowhere, so that a worker starts without Kafka, too.
        broker = KafkaBroker(consumer_only=True, logger=None)
        self.asgi = AsgiFastStream(
            broker,
            asgi_routes=[
                (_LIVE, get(self._live)),
                (_READY, get(self._ready)),
                (_METRICS, make_asgi_app(registry)),
            ],
            after_startup=[self.start],
            on_shutdown=[self.stop],
            logger=None,
        )

    async def serve(self, *, host: str, port: int) -> None:
        """Run until a signal (SIGTERM, SIGINT) or the end of a piece of work, then stop in good order.

        Raises what ended the work, if it was an error.
        """
        config = uvicorn.Config(
            self.asgi, host=host, port=port, log_config=None, lifespan="on", access_log=False
        )
        self._server = server = _Server(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        try:
            await server.serve()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._error is not None:
            raise self._error

    async def start(self) -> None:
        """Start all work."""
        for part in self._work:
            task = asyncio.create_task(part.run())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stop all work, the last started first."""
        for part, task in reversed(list(zip(self._work, self._tasks, strict=True))):
            task.cancel()
            await asyncio.wait([task])
            await part.stop()
        self._tasks.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self._error = self._error or task.exception()
        self._end()

    def _end(self) -> None:
        if self._server is not None:
            self._server.should_exit = True

    async def _live(self, _scope: Any) -> AsgiResponse:
        """Say that the event loop turns and no work has ended by itself."""
        failed = self._error is not None or any(task.done() for task in self._tasks)
        return _answer({"live": not failed}, well=not failed)

    async def _ready(self, _scope: Any) -> AsgiResponse:
        """Say whether this worker does its work, and if not, why."""
        troubles = list(self._troubles())
        return _answer({"ready": not troubles, "troubles": troubles}, well=not troubles)


def _answer(body: dict[str, Any], *, well: bool) -> AsgiResponse:
    return AsgiResponse(
        orjson.dumps(body),
        status_code=200 if well else 503,
        headers={"content-type": "application/json"},
    )
