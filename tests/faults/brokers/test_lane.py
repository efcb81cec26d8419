"""A lane behind a cable: what a partition that cannot be read costs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic
from tests.faults.brokers.cable import FETCH
from tests.faults.stage import until
from tests.kafka.bench import KafkaBench
from tests.kafka.recorder import Recorder
from worker.kafka.connection import Connection
from worker.kafka.feed import PartitionFeed
from worker.kafka.lane import Lane
from worker.kafka.reader import Reader
from worker.ports import Input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.brokers.conftest import Wired
    from worker.ports import Record

pytestmark = pytest.mark.broker
_WATCHED_S = 2.0


@dataclass
class _Outlet:
    """A shard as a lane sees it."""

    feed: PartitionFeed
    taken: list[Record] = field(default_factory=list)

    def offer(self, records: Sequence[Record]) -> None:
        self.taken += records


@pytest.mark.promise("P10", "P11")
@pytest.mark.fault("one partition's position lies outside its log")
async def test_unreadable_partition_is_asked_seldom(wired: Wired, prefix: str) -> None:
    """A partition that cannot be read is asked for some times a second, and its neighbour is read as ever."""
    bench = KafkaBench(wired.plain, prefix)
    await bench.create()
    observer = Recorder()
    outlets: dict[int, _Outlet] = {}
    lane = Lane(
        reader=Reader(Connection(bootstrap_servers=wired.cable.address), role="lane"),
        topics={Input.REQUESTS: bench.names[LogicalTopic.REQUESTS]},
        outlets=lambda: outlets,
        wait_ms=500,
        pace_ms=4,
        partition_bytes=10_000,
        observer=observer,
    )
    for partition in (0, 1):
        outlets[partition] = _Outlet(PartitionFeed(changed=lane.wake, opened=lane.wake))
    running = asyncio.create_task(lane.run())
    outlets[0].feed.seek({Input.REQUESTS: 0})
    outlets[1].feed.seek({Input.REQUESTS: 1_000})
    await until(lambda: bool(outlets[1].feed.trouble), within_s=10, what="it is told")
    began = wired.cable.carried[FETCH]
    await asyncio.sleep(_WATCHED_S)  # it is counted what happens in this time
    asked = wired.cable.carried[FETCH] - began
    await bench.append_many(LogicalTopic.REQUESTS, 0, [b"heard"])
    await until(lambda: bool(outlets[0].taken), within_s=5, what="the neighbour is read")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await lane.close()
    await bench.close()
    assert asked <= 10 * _WATCHED_S
    assert "OffsetOutOfRange" in outlets[1].feed.trouble[Input.REQUESTS]
