"""A shard's log: a broker that falls silent, and a new leader that does not know yet what is committed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from contracts.topics import LogicalTopic
from tests.kafka.bench import KafkaBench
from worker.kafka.reader import Fetched, Reader
from worker.kafka.shard_log import ShardLog
from worker.ports import LogInterrupted, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.structs import TopicPartition

    from tests.faults.brokers.conftest import Wired

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P11")]


@pytest.fixture
async def bench(wired: Wired, prefix: str) -> AsyncIterator[KafkaBench]:
    """Give names of topics, and logs of them."""
    bench = KafkaBench(wired.plain, prefix)
    yield bench
    await bench.close()


@pytest.mark.fault("the broker falls silent when a producer asks for a topic")
async def test_silence_is_no_missing_topic(wired: Wired, bench: KafkaBench) -> None:
    """A topic that nobody answers for is not called missing: the commit is interrupted, not refused."""
    log = bench.log(0)
    await log.fence()
    wired.kafka.pause()
    try:
        with pytest.raises(LogInterrupted, match="no answer in time"):
            await log.commit([Write(topic=LogicalTopic.STATES, key=b"key", value=b"value")])
    finally:
        wired.kafka.resume()
    await bench.create()
    await log.fence()
    await log.commit([Write(topic=LogicalTopic.STATES, key=b"key", value=b"value")])


@dataclass
class _Lagging:
    """What a new leader says that has not heard yet how far its partition is committed."""

    answers: int

    def of(self, fetched: Fetched, position: int) -> Fetched:
        if not self.answers:
            return fetched
        self.answers -= 1
        return replace(fetched, records=[], position=position, high_watermark=position)


class _ReaderOfLagging(Reader):
    """A reader whose first answers come from such a leader; its question for the end is answered rightly."""

    lagging: _Lagging

    @override
    async def fetch(
        self, partition: TopicPartition, position: int, *, committed: bool, wait_ms: int, partition_bytes: int
    ) -> Fetched:
        fetched = await super().fetch(
            partition, position, committed=committed, wait_ms=wait_ms, partition_bytes=partition_bytes
        )
        return self.lagging.of(fetched, position)


@pytest.mark.fault("a new leader's high watermark lags behind")
async def test_a_lagging_leader_loses_no_record(bench: KafkaBench) -> None:
    """A record that a new leader does not give yet is waited for, not taken for gone."""
    await bench.create()
    await bench.append_many(LogicalTopic.REQUESTS, 0, [b"first", b"second"])
    reader = _ReaderOfLagging(bench.connection, role="lagging")
    reader.lagging = _Lagging(answers=3)
    log = ShardLog(partition=0, connection=bench.connection, reader=reader, settings=bench.settings())
    topic = bench.names[LogicalTopic.REQUESTS]
    record = await log.fetch(topic=topic, partition=0, offset=1)
    end = await log.fetch(topic=topic, partition=0, offset=2)
    await log.close()
    await reader.close()
    assert record is not None
    assert record.value == b"second"
    assert end is None
    assert reader.lagging.answers == 0
