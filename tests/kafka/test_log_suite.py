"""The log on Kafka passes the suite that the simulated log passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from tests.kafka.bench import KafkaBench
from tests.log_suite.conformance import LogConformance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import Broker

pytestmark = pytest.mark.promise("P1", "P2")


@pytest.mark.broker
class TestShardLog(LogConformance):
    """Every behaviour that the shard relies on, on Apache Kafka."""

    @pytest.fixture
    @override
    async def bench(self, broker: Broker, prefix: str) -> AsyncIterator[KafkaBench]:
        """Give two empty partitions of every topic."""
        bench = KafkaBench(broker.bootstrap_servers, prefix)
        await bench.create()
        yield bench
        await bench.close()
