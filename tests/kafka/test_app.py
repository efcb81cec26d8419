"""The process: lifecycle, health, metrics."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from tests.kafka.bench import until
from worker.kafka.app import WorkerApp


class FakeWork:
    """Work that notes what happens to it, and fails when the test says so."""

    def __init__(self, name: str, course: list[str]) -> None:
        self.name = name
        self.course = course
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Run until cancelled or failed."""
        self.course.append(f"{self.name} runs")
        await asyncio.shield(self.failure)

    async def stop(self) -> None:
        """Note the stop."""
        self.course.append(f"{self.name} stopped")


class Served:
    """An app on a port of its own."""

    def __init__(self) -> None:
        self.course: list[str] = []
        self.work = [FakeWork("holds", self.course), FakeWork("pump", self.course)]
        self.troubles: list[str] = []
        registry = CollectorRegistry()
        Counter("sagas", "Sagas.", registry=registry).inc()
        self.app = WorkerApp(work=self.work, troubles=lambda: self.troubles, registry=registry)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.serving = asyncio.create_task(self.app.serve(host="127.0.0.1", port=self.port))

    async def get(self, path: str) -> tuple[int, str]:
        """Ask over HTTP."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def up(self) -> None:
        """Wait until it answers."""

        async def answers() -> bool:
            try:
                await self.get("/health/live")
            except aiohttp.ClientConnectionError:
                return False
            return True

        await until(answers)


async def test_health_metrics_and_an_orderly_end() -> None:
    """Health says why a worker is not ready, metrics are served, SIGTERM stops the last started first."""
    served = Served()
    await served.up()
    assert await served.get("/health/ready") == (200, '{"ready":true,"troubles":[]}')
    served.troubles.append("topic unbinding.requests is missing")
    status, text = await served.get("/health/ready")
    assert status == 503
    assert "unbinding.requests is missing" in text
    assert "sagas_total 1.0" in (await served.get("/metrics"))[1]
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await served.serving
    assert served.course == ["holds runs", "pump runs", "pump stopped", "holds stopped"]


async def test_failed_work_ends_the_process() -> None:
    """Work that fails stops everything in good order, and the process ends with its error."""
    served = Served()
    await served.up()
    served.work[1].failure.set_exception(RuntimeError("instance id taken"))
    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="instance id taken"):
            await served.serving
    assert served.course[-2:] == ["pump stopped", "holds stopped"]
