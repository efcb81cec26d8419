"""What operators do to a fleet in a scenario: roll it out, change its keys, open it after a loss."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from contracts.topics import LogicalTopic
from tests.simulation.loop import Life

if TYPE_CHECKING:
    from random import Random

    from tests.simulation.process import SimWorker
    from tests.simulation.setting import Keys
    from tests.simulation.world import World


class Upkeep:
    """One operator: one thing at a time; whatever was begun is brought to an end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._busy = False
        self._made = 1

    async def rotate_keys(self, random: Random) -> None:
        """Add keys, make them active, and perhaps take the old sealing key away when nothing needs it."""
        if self._begin():
            keys, number = self.world.setting.keys, self._next()
            added = replace(
                keys,
                sealing=(*keys.sealing, f"sealing-{number}"),
                prints=(*keys.prints, f"prints-{number}"),
            )
            await self._start_with(added, random)
            active = replace(
                added,
                sealing=(added.sealing[-1], *added.sealing[:-1]),
                prints=(added.prints[-1], *added.prints[:-1]),
            )
            await self._start_with(active, random)
            self._busy = False

    async def lose_key(self, random: Random) -> None:
        """Start the fleet without its sealing key; put it back after a while, or give it up."""
        if self._begin():
            keys, number = self.world.setting.keys, self._next()
            gone = keys.sealing[0]
            without = replace(keys, sealing=(f"sealing-{number}", *keys.sealing[1:]))
            await self._start_with(without, random)
            await asyncio.sleep(20 * random.random())
            if random.random() < 0.5:
                await self._start_with(replace(without, sealing=(*without.sealing, gone)), random)
            else:
                await self._start_with(replace(without, given_up=keys.given_up | {gone}), random)
            self._busy = False

    async def lose_requests(self, random: Random) -> None:
        """Let retention overtake a partition that nobody serves; the fleet opens when a person says so."""
        world = self.world
        if not self._begin():
            return
        partition = random.randrange(world.partitions)
        owner = world.owners[partition]
        if owner is not None and owner.process.life is Life.RUNS:
            world.kill(owner)
            for number in range(3):
                headers = [("ce_id", f"lost-{self._next()}-{number}".encode())]
                world.send(LogicalTopic.REQUESTS, key=None, value=b"{}", headers=headers, partition=partition)
            world.lose(partition, most=random.randint(1, 4))
            world.replace(owner)
            await asyncio.sleep(20 * random.random())
            await self.accept_loss(random)
        self._busy = False

    async def accept_loss(self, random: Random) -> None:
        """Restart the workers whose shards do not open, and say that what is lost is lost."""
        world = self.world
        closed = sorted(
            {
                owner.name: owner
                for owner in world.owners.values()
                if owner is not None and not _serves(owner)
            }.items()
        )
        if closed:
            world.note("a person accepts the loss")
            world.setting = replace(world.setting, accept_loss=True)
            for _, owner in closed:
                await self._restart(owner, random)
            await asyncio.sleep(10)
            world.setting = replace(world.setting, accept_loss=False)

    async def _start_with(self, keys: Keys, random: Random) -> None:
        """Roll the fleet: each worker is restarted with other keys, one after the other."""
        self.world.setting = replace(self.world.setting, keys=keys)
        self.world.note(f"the fleet is rolled: {keys}")
        for worker in list(self.world.workers):
            await self._restart(worker, random)
            await asyncio.sleep(random.random())

    async def _restart(self, worker: SimWorker, random: Random) -> None:
        world = self.world
        if worker not in world.workers or worker.process.life is not Life.RUNS:
            return
        if random.random() < 0.5:
            await world.leave(worker)
        else:
            world.kill(worker)
        world.replace(worker)

    def _begin(self) -> bool:
        begins, self._busy = not self._busy, True
        return begins

    def _next(self) -> int:
        self._made += 1
        return self._made


def _serves(worker: SimWorker) -> bool:
    return all(worker.seats[number].shard.position() is not None for number in worker.assigned)
