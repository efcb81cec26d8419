"""The world around shards, tried with one that only counts: each number is journaled once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic, topic_name
from tests.simulation.loop import Life, run
from tests.simulation.world import SESSION, World
from worker.ports import Fenced, Input, LogError, Write

if TYPE_CHECKING:
    from tests.simulation.process import Ports
    from worker.ports import Record

JOURNAL = topic_name(LogicalTopic.JOURNAL)


class CountingShard:
    """Restores a number from its journal and counts on, one commit a second, as long as it is not fenced."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.offered: list[int] = []
        self.fenced = False
        self.counting = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Claim, restore, seek and count on."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        while not self.fenced:
            try:
                await self._count()
            except Fenced:
                self.fenced = True
            except LogError:
                await asyncio.sleep(0.5)

    async def _count(self) -> None:
        ports = self.ports
        await ports.log.fence()
        number = 0
        async for batch in ports.log.journal():
            for record in batch:
                assert int(record.value or b"0") == number + 1
                number += 1
        ports.feed.seek({Input.REQUESTS: number})
        while True:
            self.counting = True
            number += 1
            await ports.log.commit([Write(topic=LogicalTopic.JOURNAL, key=b"n", value=b"%d" % number)])
            await asyncio.sleep(1)

    def offer(self, records: list[Record]) -> None:
        """Note the offsets."""
        self.offered += [record.offset for record in records]

    def holds_changed(self) -> None:
        """Nothing is called, nothing held."""

    def position(self) -> dict[Input, int] | None:
        """There is none to show."""
        return None

    async def close(self) -> None:
        """Stop counting for good."""
        await self.drain()

    async def drain(self) -> None:
        """Stop counting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None


def counted(world: World) -> list[int]:
    """Return all numbers that were ever committed, of partition 0."""
    return [int(record.value or b"0") for record in world.cluster.archive(JOURNAL, 0)]


def watched(world: World) -> World:
    """Check the world after a run: nothing skipped, nothing twice, no port misused."""
    numbers = counted(world)
    assert numbers == list(range(1, len(numbers) + 1))
    assert world.misuses() == []
    return world


@pytest.mark.parametrize("seed", range(5))
def test_kill_at_every_step_loses_and_repeats_nothing(seed: int) -> None:
    """Killed at any step and replaced at once, the counter goes on without gap or repeat."""
    killed, step = True, 0
    while killed:
        step += 1
        world = World(seed, make_shard=CountingShard, partitions=1)
        world.give(0, world.hire())

        def look(now: int, world: World = world, step: int = step) -> None:
            if now == step:
                dead = world.workers[0]
                world.kill(dead)
                world.replace(dead)

        world.loop.before_step = look
        run(world.loop, asyncio.sleep(6))
        watched(world)
        assert len(counted(world)) > 3
        killed = len(world.workers) > 0 and world.workers[0].name != "worker-1"


@pytest.mark.parametrize("seed", range(20))
def test_frozen_worker_is_replaced_and_fenced(seed: int) -> None:
    """Frozen beyond its session, a worker loses the partition; thawed, it has no lease and is fenced."""
    world = World(seed, make_shard=CountingShard, partitions=1)

    async def main() -> None:
        old, new = world.hire(), world.hire()
        world.give(0, old)
        await asyncio.sleep(3 + world.random.random())
        lease = world.seat(old, 0).shard
        assert isinstance(lease, CountingShard)
        assert lease.ports.lease.live()
        world.freeze(old)
        await asyncio.sleep(SESSION + 10)
        assert world.owners[0] is new
        before = counted(world)
        world.thaw(old)
        assert not lease.ports.lease.live()
        await asyncio.sleep(10)
        assert len(counted(world)) > len(before)
        zombie = old.seats[0].shard
        assert isinstance(zombie, CountingShard)
        assert zombie.fenced

    run(world.loop, main())
    watched(world)


@pytest.mark.parametrize("seed", range(20))
def test_moved_partition_is_drained_first(seed: int) -> None:
    """A partition moves after its owner has drained it, there and back again."""
    world = World(seed, make_shard=CountingShard, partitions=1)

    async def main() -> None:
        first, second = world.hire(), world.hire()
        world.give(0, first)
        for worker in (second, first, second):
            await asyncio.sleep(3)
            await world.move(0, worker)
            assert world.owners[0] is worker
        await asyncio.sleep(3)
        assert first.assigned == set()
        assert second.assigned == {0}

    run(world.loop, main())
    watched(world)
    assert len(counted(world)) > 8


@pytest.mark.parametrize("seed", range(20))
def test_faults_of_the_log_lose_and_repeat_nothing(seed: int) -> None:
    """Commits that break off with an unknown fate are found out by the next restore."""
    world = World(seed, make_shard=CountingShard, partitions=1)
    world.log_faults.interrupt = 0.4
    world.log_faults.fence = 0.2
    world.log_faults.read = 0.2
    world.give(0, world.hire())
    run(world.loop, asyncio.sleep(120))
    watched(world)
    assert len(counted(world)) > 10


def test_feed_honours_seek_and_pause() -> None:
    """A paused feed gives no request, and a seek gives those from its offset on, once."""
    world = World(1, make_shard=CountingShard, partitions=1)

    async def main() -> None:
        worker = world.hire()
        for _ in range(5):
            world.send(LogicalTopic.REQUESTS, key=None, value=b"", headers=(), partition=0)
        world.give(0, worker)
        await asyncio.sleep(1)
        seat = worker.seats[0]
        shard = seat.shard
        assert isinstance(shard, CountingShard)
        assert shard.offered == [0, 1, 2, 3, 4]
        seat.feed.pause()
        world.send(LogicalTopic.REQUESTS, key=None, value=b"", headers=(), partition=0)
        await asyncio.sleep(1)
        assert len(shard.offered) == 5
        seat.feed.resume()
        await asyncio.sleep(1)
        assert shard.offered[5:] == [5]
        seat.feed.seek({Input.REQUESTS: 3})
        await asyncio.sleep(1)
        assert shard.offered[6:] == [3, 4, 5]

    run(world.loop, main())


def test_one_seed_gives_one_history() -> None:
    """Two runs of one seed make the same steps and write the same numbers; another seed does not."""

    def runs(seed: int) -> tuple[int, list[str], int]:
        world = World(seed, make_shard=CountingShard, partitions=1)
        world.log_faults.interrupt = 0.4
        world.give(0, world.hire())
        run(world.loop, asyncio.sleep(30))
        return world.loop.steps, world.diary, len(counted(world))

    assert runs(3) == runs(3)
    assert runs(3) != runs(4)


def test_dead_worker_is_dead() -> None:
    """A killed worker keeps its life ended, also where the group is told to find contact again."""
    world = World(1, make_shard=CountingShard, partitions=1)

    async def main() -> None:
        worker = world.hire()
        world.give(0, worker)
        await asyncio.sleep(2)
        world.freeze(worker)
        world.kill(worker)
        before = counted(world)
        world.thaw(worker)
        await asyncio.sleep(60)
        assert worker.process.life is Life.DEAD
        assert counted(world) == before

    run(world.loop, main())
    watched(world)
