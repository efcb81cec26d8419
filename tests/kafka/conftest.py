"""Gives broker tests a bench on the session's Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kafka.bench import KafkaBench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import Broker


@pytest.fixture
async def bench(broker: Broker, prefix: str) -> AsyncIterator[KafkaBench]:
    """Give a bench with two empty partitions of everything."""
    bench = KafkaBench(broker.bootstrap_servers, prefix)
    await bench.create()
    yield bench
    await bench.close()
