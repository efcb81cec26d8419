"""Gives tests a broker with an authorizer and a quick log cleaner, and houses on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.brokers.fixtures import fresh_prefix
from tests.faults.inputs.acls import AUTHORIZER, PASSWORD, USER
from tests.faults.inputs.house import open_house
from worker.sandbox.local_kafka import LocalKafka, local_kafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.faults.inputs.house import House

_QUICK_CLEANER = {"log.cleaner.backoff.ms": "200"}


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Give a broker of this package's own: its users may what access lists say."""
    directory = tmp_path_factory.mktemp("guarded")
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop))
        running = contextlib.AsyncExitStack()
        kafka = runner.run(
            running.enter_async_context(
                local_kafka(
                    directory=directory, users={USER: PASSWORD}, properties=AUTHORIZER | _QUICK_CLEANER
                )
            )
        )
        stack.callback(lambda: runner.run(running.aclose()))
        yield kafka


@pytest.fixture
async def house(guarded: LocalKafka, tmp_path: Path) -> AsyncIterator[House]:
    """Give a house with all topics, on the broker with the authorizer."""
    async with open_house(
        tmp_path,
        bootstrap_servers=guarded.bootstrap_servers,
        users_servers=guarded.users_bootstrap_servers,
        prefix=fresh_prefix(),
    ) as house:
        yield house
