"""The pump on Apache Kafka: it hosts shards, feeds them and gives them back."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic
from tests.brokers.topics import create_topics
from tests.kafka.bench import KafkaBench, until
from tests.kafka.fake_shard import FakeShard
from tests.kafka.recorder import Recorder
from worker.kafka.membership import InstanceIdTaken
from worker.kafka.pump import Pump, PumpSettings
from worker.ports import Input

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import Broker
    from worker.ports import Feed, Lease, Log
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1")]
REQUESTS = LogicalTopic.REQUESTS


class Fleet:
    """Pumps with fake shards; positions are handed on as a journal would."""

    def __init__(self, bench: KafkaBench) -> None:
        self.bench = bench
        self.made: list[FakeShard] = []
        self.auto_open = True
        self.observer = Recorder()

    def start_at(self, partition: int) -> int:
        """Return where the last owner of the partition stopped."""
        positions = [
            shard.position
            for shard in self.made
            if shard.partition == partition and shard.position is not None
        ]
        return max(positions, default=0)

    def make(self, partition: int, log: Log, feed: Feed, lease: Lease) -> FakeShard:
        """Build a shard and remember it."""
        shard = FakeShard(partition, log, feed, lease, start_at=self.start_at)
        shard.auto_open = self.auto_open
        self.made.append(shard)
        return shard

    def values(self) -> list[bytes | None]:
        """Return all requests that any shard has taken."""
        return [value for shard in self.made for value in shard.values()]

    def pump(self, *, instance_id: str | None = None) -> Pump[FakeShard]:
        """Return a pump that has not been started."""
        return Pump(
            connection=self.bench.connection,
            log_settings=self.bench.settings(),
            settings=PumpSettings(instance_id=instance_id, drain_limit_ms=5_000),
            make_shard=self.make,
            position_of=lambda shard: shard.position,
            observer=self.observer,
        )

    @asynccontextmanager
    async def running(self, *, instance_id: str | None = None) -> AsyncIterator[Pump[FakeShard]]:
        """Run a pump, and stop it in good order."""
        pump = self.pump(instance_id=instance_id)
        running = asyncio.create_task(pump.run())
        try:
            yield pump
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await pump.stop()


@pytest.fixture
def fleet(bench: KafkaBench) -> Fleet:
    """Give a fleet on the bench."""
    return Fleet(bench)


async def test_feeds_all_inputs_of_its_partitions(bench: KafkaBench, fleet: Fleet) -> None:
    """Each partition's shard gets the requests, commands and notices of its partition, in order."""
    await bench.append_many(REQUESTS, 0, [b"a", b"b", b"c"])
    await bench.append_many(REQUESTS, 1, [b"d"])
    await bench.append_many(LogicalTopic.COMMANDS, 1, [b"command"])
    async with fleet.running() as pump:
        await until(lambda: len(fleet.values()) == 4)
        await bench.append_many(LogicalTopic.NOTICES, 1, [b"notice"])
        await until(lambda: pump.shards[1].values(Input.NOTICES) == [b"notice"])
        assert pump.shards[0].values() == [b"a", b"b", b"c"]
        assert pump.shards[1].values() == [b"d"]
        await until(lambda: pump.shards[1].values(Input.COMMANDS) == [b"command"])
        await until(lambda: pump.troubles == [])


async def test_gate_is_shut_until_the_shard_seeks(bench: KafkaBench, fleet: Fleet) -> None:
    """A shard that has not sought yet is offered nothing, while its neighbour is fed."""
    fleet.auto_open = False
    await bench.append_many(REQUESTS, 0, [b"a"])
    await bench.append_many(REQUESTS, 1, [b"b"])
    async with fleet.running() as pump:
        await until(lambda: len(pump.shards) == 2)
        pump.shards[1].open()
        await until(lambda: pump.shards[1].values() == [b"b"])
        assert pump.shards[0].astray == []
        pump.shards[0].open()
        await until(lambda: pump.shards[0].values() == [b"a"])


async def test_seek_voids_what_was_fed_before(bench: KafkaBench, fleet: Fleet) -> None:
    """After a seek the feed begins exactly at the new position."""
    await bench.append_many(REQUESTS, 0, [b"%d" % number for number in range(10)])
    async with fleet.running() as pump:
        await until(lambda: len(fleet.values()) == 10)
        shard = pump.shards[0]
        shard.taken.clear()
        shard.feed.seek({Input.REQUESTS: 7, Input.COMMANDS: 0, Input.NOTICES: 0})
        await until(lambda: len(shard.values()) == 3)
        assert shard.values() == [b"7", b"8", b"9"]


async def test_pause_holds_requests_only(bench: KafkaBench, fleet: Fleet) -> None:
    """A paused shard gets commands but no requests, its neighbour both, and on resume nothing is missing."""
    async with fleet.running() as pump:
        await until(lambda: len(pump.shards) == 2)
        pump.shards[0].feed.pause()
        await bench.append_many(REQUESTS, 0, [b"a"])
        await bench.append_many(LogicalTopic.COMMANDS, 0, [b"command"])
        await bench.append_many(REQUESTS, 1, [b"b"])
        await until(lambda: pump.shards[0].values(Input.COMMANDS) == [b"command"])
        await until(lambda: pump.shards[1].values() == [b"b"])
        assert pump.shards[0].values() == []
        pump.shards[0].feed.resume()
        await until(lambda: pump.shards[0].values() == [b"a"])


async def test_rebalance_loses_and_strays_nothing(bench: KafkaBench, fleet: Fleet) -> None:
    """While workers come and go every record is taken once, and none by a shard that is not open."""
    sent = [b"%d" % number for number in range(300)]

    async def send() -> None:
        for number, value in enumerate(sent):
            await bench.append_many(REQUESTS, number % 2, [value])

    async with fleet.running() as first:
        await until(lambda: len(first.shards) == 2)
        sending = asyncio.create_task(send())
        async with fleet.running() as second:
            await until(lambda: len(second.shards) == 1 and len(first.shards) == 1)
        await until(lambda: len(first.shards) == 2)
        await sending
        await until(lambda: len(fleet.values()) >= len(sent))
        assert sorted(fleet.values(), key=str) == sorted(sent, key=str)
        assert [shard.astray for shard in fleet.made if shard.astray] == []
        kept = [shard for shard in fleet.made if shard.starts > 1]
        assert kept, "a partition that comes back to its process keeps its shard"


async def test_pause_survives_a_rebalance(bench: KafkaBench, fleet: Fleet) -> None:
    """A shard paused after a rebalance stays paused: the group's own rewinding does not touch the feed."""
    async with fleet.running() as first:
        await until(lambda: len(first.shards) == 2)
        async with fleet.running() as second:
            await until(lambda: len(second.shards) == 1 and len(first.shards) == 1)
            (partition,) = first.shards
            shard = first.shards[partition]
            await until(lambda: shard.state == "open")
            shard.feed.pause()
            await bench.append_many(REQUESTS, partition, [b"held"])
            await bench.append_many(LogicalTopic.COMMANDS, partition, [b"command"])
            await until(lambda: shard.values(Input.COMMANDS) == [b"command"])
            assert shard.values() == []
            shard.feed.resume()
            await until(lambda: shard.values() == [b"held"])


async def test_stop_drains_and_commits_the_group(bench: KafkaBench, fleet: Fleet) -> None:
    """A clean stop drains every shard, and the group's commit stands at the last position."""
    await bench.append_many(REQUESTS, 0, [b"a", b"b"])
    pump = fleet.pump()
    running = asyncio.create_task(pump.run())
    await until(lambda: len(fleet.values()) == 2)
    running.cancel()
    await asyncio.wait([running])
    await pump.stop()
    assert all(shard.drains == 1 and shard.state == "dropped" for shard in fleet.made)
    assert (await bench.log(0).bounds()).group_committed == 2


async def test_lease_lives_once_open(fleet: Fleet) -> None:
    """A shard's lease is live soon after it has opened, and dead when the partition was given back."""
    async with fleet.running() as pump:
        await until(lambda: len(pump.shards) == 2)
        lease = pump.shards[0].lease
        async with asyncio.timeout(3):
            await lease.wait()
        assert lease.live()
    assert not lease.live()


@pytest.mark.fault("a header name that is not UTF-8")
async def test_junk_header_key(bench: KafkaBench, fleet: Fleet) -> None:
    """A record whose header key is not UTF-8 arrives with replacement characters, and its neighbours too."""
    await bench.append_raw(
        REQUESTS, 0, [(b"k", b"before", ()), (b"k", b"junk", ((b"\xff\xfe", b"\xfd"),)), (b"k", b"after", ())]
    )
    async with fleet.running() as pump:
        await until(lambda: len(fleet.values()) == 3)
        assert pump.shards[0].values() == [b"before", b"junk", b"after"]
        assert pump.shards[0].taken[1].headers == (("\ufffd\ufffd", b"\xfd"),)


@pytest.mark.fault("Kafka is away at the start")
async def test_starts_without_kafka(private_broker: LocalKafka, prefix: str) -> None:
    """A worker that starts while Kafka is away says so, and works as soon as it is there."""
    bench = KafkaBench(private_broker.bootstrap_servers, prefix)
    await bench.create()
    await bench.close()
    private_broker.kill()
    fleet = Fleet(bench)
    async with fleet.running() as pump:
        await until(lambda: "group.missed" in fleet.observer.events())
        assert pump.troubles
        await private_broker.restart()
        await until(lambda: len(pump.shards) == 2 and pump.troubles == [])
        await bench.append_many(REQUESTS, 0, [b"a"])
        await until(lambda: fleet.values() == [b"a"])
    await bench.close()


@pytest.mark.fault("the topic of requests is missing")
async def test_missing_topic_is_told(broker: Broker, prefix: str) -> None:
    """A worker whose requests topic is missing says which and what to do, and works when it is there."""
    bench = KafkaBench(broker.bootstrap_servers, prefix)
    await bench.create(without=(REQUESTS,))
    fleet = Fleet(bench)
    async with fleet.running() as pump:
        await until(lambda: any("topics check" in trouble for trouble in pump.troubles))
        await create_topics(broker.bootstrap_servers, {bench.names[REQUESTS]: 2})
        await until(lambda: len(pump.shards) == 2)
        await until(lambda: pump.troubles == [])
    await bench.close()


@pytest.mark.fault("two processes with one instance id")
async def test_twins_stop(fleet: Fleet) -> None:
    """Of two processes with one instance id one ends soon with an error that names the id."""
    first, second = fleet.pump(instance_id="worker-0"), fleet.pump(instance_id="worker-0")
    tasks = [asyncio.create_task(pump.run()) for pump in (first, second)]
    done, _ = await asyncio.wait(tasks, timeout=40, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.gather(first.stop(), second.stop())
    (ended,) = done
    with pytest.raises(InstanceIdTaken, match="worker-0"):
        ended.result()
