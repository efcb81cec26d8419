"""Pytest fixtures of a real Apache Kafka; `tests/conftest.py` makes them known to all tests.

The broker of the session is, in this order: the cluster that KAFKA_BOOTSTRAP_SERVERS names, a container
where a Docker engine answers and has the image, a local Java process. There is no fourth way: where none
works the tests fail, and say what each lacks.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.brokers.container import ApacheKafkaContainer, why_no_container
from worker.sandbox.kafka_config import Listener
from worker.sandbox.local_kafka import LocalKafka, local_kafka

_CHOSEN = pytest.StashKey[str]()


@dataclass(frozen=True, slots=True)
class Broker:
    """A cluster for tests that only use it; `source` says where it comes from."""

    bootstrap_servers: str
    source: str


class StartBroker(Protocol):
    """Starts a local cluster of the test's own, which ends with the test."""

    async def __call__(
        self,
        *,
        brokers: int = 1,
        properties: dict[str, str] | None = None,
        users: dict[str, str] | None = None,
        listeners: tuple[Listener, ...] = (),
    ) -> LocalKafka:
        """Return the cluster when all its brokers serve."""


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Give the broker that all tests share: use topics with a prefix of your own, and do not stop it."""
    with contextlib.ExitStack() as stack:
        chosen = _choose(stack, tmp_path_factory)
        request.config.stash[_CHOSEN] = f"{chosen.source} ({chosen.bootstrap_servers})"
        yield chosen


@pytest.fixture
def prefix() -> str:
    """Give a topic prefix that no other test has."""
    return fresh_prefix()


@pytest.fixture
async def start_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartBroker]:
    """Give a function that starts clusters of the test's own, as local Java processes."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *,
            brokers: int = 1,
            properties: dict[str, str] | None = None,
            users: dict[str, str] | None = None,
            listeners: tuple[Listener, ...] = (),
        ) -> LocalKafka:
            return await stack.enter_async_context(
                local_kafka(
                    directory=tmp_path_factory.mktemp("kafka"),
                    brokers=brokers,
                    properties=properties,
                    users=users,
                    listeners=listeners,
                )
            )

        yield start


@pytest.fixture
async def private_broker(start_broker: StartBroker) -> LocalKafka:
    """Give a broker of the test's own, to kill, pause and restart."""
    return await start_broker()


def fresh_prefix() -> str:
    """Return a topic prefix that was never used before, such as `t3f9c2a1b.`."""
    return f"t{secrets.token_hex(4)}."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which Apache Kafka the session used, so that a report can be judged."""
    chosen = config.stash.get(_CHOSEN, None)
    if chosen is not None:
        terminalreporter.write_line(f"Apache Kafka: {chosen}")


def _choose(stack: contextlib.ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return Broker(bootstrap_servers=given, source="KAFKA_BOOTSTRAP_SERVERS")
    reason = why_no_container()
    if reason is None:
        container = stack.enter_context(ApacheKafkaContainer())
        return Broker(bootstrap_servers=container.bootstrap_servers, source="container")
    # A loop of its own: the fixture outlives the loops of single tests, and is not theirs to close.
    runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop))
    running = contextlib.AsyncExitStack()
    kafka = runner.run(running.enter_async_context(local_kafka(directory=tmp_path_factory.mktemp("kafka"))))
    stack.callback(lambda: runner.run(running.aclose()))
    return Broker(bootstrap_servers=kafka.bootstrap_servers, source=f"local Java process; {reason}")
