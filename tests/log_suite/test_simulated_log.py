"""The simulated log passes the suite of the real one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from contracts.topics import LogicalTopic, topic_name
from tests.log_suite.conformance import LogConformance
from tests.simulation.cluster import SimCluster
from tests.simulation.log import SimLog
from tests.simulation.network import Network
from worker.ports import JournalRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.log_suite import Bench
    from worker.ports import Headers

pytestmark = pytest.mark.promise("P1", "P2")

SEEDS = range(3)
RESTORE_LIMIT_S = 0.5


class SimBench:
    """A simulated cluster on the test's own loop, with small random delays."""

    oversized = 20_000

    def __init__(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311 - a seed, no secret
        loop = asyncio.get_running_loop()
        self._network = Network(loop=loop, random=random, delay_most=0.002)
        self._cluster = SimCluster(
            partitions=2,
            now=lambda: round(loop.time() * 1000),
            later=self._network.outside,
            marker_delay=self._network.delay,
            record_most=10_000,
        )

    def log(self, partition: int) -> SimLog:
        """Return a new log of the partition."""
        return SimLog(
            cluster=self._cluster, network=self._network, partition=partition, restore_limit=RESTORE_LIMIT_S
        )

    async def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> int:
        """Append a record without a transaction and return its offset."""
        return self._cluster.append(topic_name(topic), partition, key=key, value=value, headers=headers)

    async def visible(self, topic: LogicalTopic, partition: int) -> Sequence[JournalRecord]:
        """Return what a read_committed reader sees."""
        await self._network.breathe()
        found = self._cluster.committed(topic_name(topic), partition)
        return [JournalRecord(record.key or b"", record.value, record.headers) for record in found]

    @asynccontextmanager
    async def foreign(self, topic: LogicalTopic, partition: int) -> AsyncIterator[None]:
        """Keep another producer's transaction open in the partition."""
        epoch = self._cluster.init_producer("foreign")
        self._cluster.produce(
            "foreign", epoch, topic_name(topic), partition, key=b"foreign", value=b"", headers=()
        )
        yield
        self._cluster.end("foreign", epoch, commit=False)

    @asynccontextmanager
    async def refusing(self, topic: LogicalTopic) -> AsyncIterator[None]:
        """Let the topic refuse each write."""
        self._cluster.refused.add(topic_name(topic))
        yield
        self._cluster.refused.discard(topic_name(topic))

    async def trim(self, topic: LogicalTopic, partition: int, *, start: int) -> None:
        """Delete all records before `start`."""
        self._cluster.retain(topic_name(topic), partition, start=start)

    async def commit_group(self, partition: int, offset: int) -> None:
        """Commit the group's offset of the requests partition."""
        self._cluster.commit_group(topic_name(LogicalTopic.REQUESTS), partition, offset)


class TestSimulatedLog(LogConformance):
    """The suite on the simulated log, with a few seeds."""

    @override
    @pytest.fixture(params=SEEDS)
    async def bench(self, request: pytest.FixtureRequest) -> Bench:
        """Return a fresh simulated cluster."""
        return SimBench(request.param)
