"""A broker that is reached through a cable, for the tests of this folder."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.faults.brokers.cable import Cable, lay_cable
from worker.sandbox.kafka_config import Listener
from worker.sandbox.local_kafka import LocalKafka, free_ports, local_kafka

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Run these tests on the event loop of a worker: it treats broken connections in its own way."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True, slots=True)
class Wired:
    """A broker of the test's own, and the one cable through which clients of the second listener reach it."""

    kafka: LocalKafka
    cable: Cable

    @property
    def plain(self) -> str:
        """The plain listener, which no cable is in front of."""
        return self.kafka.bootstrap_servers


@dataclass(frozen=True, slots=True)
class _Behind:
    """A broker whose second listener is advertised at a port where a cable may be laid."""

    kafka: LocalKafka
    target: int
    port: int


@pytest.fixture(scope="package")
def _behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Behind]:
    """Give the tests of this folder one broker; each of them leaves it running, or it is started again."""
    (ports,) = free_ports(nodes=1)
    listener = Listener(
        name="CABLE", protocol="PLAINTEXT", ports=(ports.clients,), advertised=(ports.controller,)
    )
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = AsyncExitStack()
        context = local_kafka(directory=tmp_path_factory.mktemp("behind"), listeners=(listener,))
        kafka = runner.run(running.enter_async_context(context))
        yield _Behind(kafka, ports.clients, ports.controller)
        runner.run(running.aclose())


@pytest.fixture
async def wired(_behind: _Behind) -> AsyncIterator[Wired]:
    """Give a broker behind a cable that knows single requests."""
    await _behind.kafka.start()
    async with lay_cable(target=_behind.target, port=_behind.port) as cable:
        yield Wired(_behind.kafka, cable)
