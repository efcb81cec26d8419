"""What goes wrong in a scenario: each deed hurts the world for a while, and leaves it able to mend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.hub import LINES
from tests.simulation.loop import Life
from tests.simulation.process import SimHold
from tests.simulation.world import HOUR_MS, SESSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from tests.simulation.process import SimWorker
    from tests.simulation.upkeep import Upkeep
    from tests.simulation.world import World

REFUSABLE = (
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.REQUESTS,
    LogicalTopic.NOTICES,
)


class Storm:
    """One sequence of misfortunes; two of them run beside each other."""

    def __init__(self, world: World, upkeep: Upkeep, *, jumps: bool) -> None:
        self.world = world
        self._upkeep = upkeep
        self._jumps = jumps
        self._random: Random = world.random

    async def strike(self, random: Random) -> None:
        """Do one deed; which, and how, comes from `random` alone."""
        self._random = random
        deeds = self.deeds()
        chosen = random.choices(list(deeds), [weight for weight, _ in deeds.values()])[0]
        self.world.reached[f"deed {chosen}"] += 1
        await deeds[chosen][1]()

    def deeds(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        """Return all deeds by name, with how often they happen."""
        upkeep, random = self._upkeep, self._random
        return {
            "kill": (4, self._kill),
            "kill again": (2, self._kill_again),
            "kill all": (1, self._kill_all),
            "kill in drain": (2, self._kill_in_drain),
            "end": (2, self._end),
            "freeze": (2, self._freeze),
            "freeze two": (1, self._freeze_two),
            "cut": (2, self._cut),
            "move": (4, self._move),
            "compact": (2, self._compact),
            "retain": (1, self._retain),
            "break commits": (2, self._break_commits),
            "slow network": (1, self._slow_network),
            "refuse": (2, self._refuse),
            "refuse fence": (1, self._refuse_fence),
            "foreign": (2, self._foreign),
            "hold": (2, self._hold),
            "stop line": (2, self._stop_line),
            "jump": (3 if self._jumps else 0, self._jump),
            "rotate keys": (1, lambda: upkeep.rotate_keys(random)),
            "lose key": (1, lambda: upkeep.lose_key(random)),
            "lose requests": (1, lambda: upkeep.lose_requests(random)),
        }

    # --- processes -------------------------------------------------------------------

    async def _kill(self) -> None:
        worker = self._someone()
        if worker is not None:
            await self._kill_at_some_step(worker)
            await asyncio.sleep(self._random.choice((0.0, 0.05, 2.0, SESSION)))
            self.world.replace(worker)

    async def _kill_again(self) -> None:
        """Kill a worker, and its successors while they restore."""
        worker = self._someone()
        for _ in range(self._random.randint(2, 4)):
            if worker is None or worker.process.life is Life.DEAD:
                return
            await self._kill_at_some_step(worker)
            worker = self.world.replace(worker)

    async def _kill_all(self) -> None:
        workers = list(self.world.workers)
        for worker in workers:
            self.world.kill(worker)
        await asyncio.sleep(self._random.choice((0.0, 5.0)))
        for worker in workers:
            self.world.replace(worker)

    async def _kill_in_drain(self) -> None:
        world = self.world
        partition = self._random.randrange(world.partitions)
        owner = world.owners[partition]
        if owner is None or owner.process.life is not Life.RUNS or owner.cut_at is not None:
            return
        moving = asyncio.ensure_future(world.move(partition, self._other_than(owner)))
        await self._kill_at_some_step(owner)
        await moving
        world.replace(owner)

    async def _kill_at_some_step(self, worker: SimWorker) -> None:
        world = self.world
        at = world.loop.steps + int(self._random.choice((1, 5, 30, 200)) * self._random.random())
        struck: asyncio.Future[None] = world.loop.create_future()

        def strike() -> None:
            if not struck.done():
                if worker.process.life is not Life.DEAD:
                    world.kill(worker)
                struck.set_result(None)

        world.at_step(at, strike)
        # Steps may be rare: strike after a minute at the latest.
        world.network.outside(60.0, strike)
        await struck

    async def _end(self) -> None:
        """Ask a worker to end, as a roll-out does, and start another one."""
        worker = self._someone()
        if worker is not None:
            await self.world.leave(worker)
            self.world.replace(worker)

    async def _freeze(self) -> None:
        await self._freeze_for(self._someone())

    async def _freeze_two(self) -> None:
        if len(self.world.workers) < 2:
            self.world.hire()
        await asyncio.gather(*(self._freeze_for(worker) for worker in list(self.world.workers)[:2]))

    async def _freeze_for(self, worker: SimWorker | None) -> None:
        if worker is not None and worker.process.life is Life.RUNS and worker.cut_at is None:
            self.world.freeze(worker)
            await asyncio.sleep(self._random.choice((0.1, 4.0, 12.0, 25.0, 60.0)))
            self.world.thaw(worker)

    async def _cut(self) -> None:
        worker = self._someone()
        if worker is not None:
            self.world.cut(worker)
            await asyncio.sleep(self._random.choice((1.0, 8.0, 30.0)))
            self.world.mend(worker)

    async def _move(self) -> None:
        world = self.world
        partition = self._random.randrange(world.partitions)
        owner = world.owners[partition]
        if owner is None or owner.cut_at is not None or owner.process.life is not Life.RUNS:
            return
        await world.move(partition, self._other_than(owner))
        if self._random.random() < 0.5 and owner in world.workers:
            # It comes back: somebody else has written.
            await asyncio.sleep(5 * self._random.random())
            await world.move(partition, owner)
        elif self._random.random() < 0.5 and world.owners[partition] in world.workers:
            # Away and back before anybody else has written: the memory is kept.
            await world.move(partition, world.owners[partition] or owner)

    def _other_than(self, owner: SimWorker) -> SimWorker:
        healthy = [worker for worker in self.world.workers if worker.cut_at is None and worker is not owner]
        return self._random.choice(healthy) if healthy else self.world.hire()

    def _someone(self) -> SimWorker | None:
        running = [
            worker
            for worker in self.world.workers
            if worker.process.life is Life.RUNS and worker.cut_at is None
        ]
        return self._random.choice(running) if running else None

    # --- the broker ----------------------------------------------------------------------

    async def _compact(self) -> None:
        self.world.compact()

    async def _retain(self) -> None:
        self.world.retain(self._random.randrange(self.world.partitions))

    async def _break_commits(self) -> None:
        faults = self.world.log_faults
        faults.interrupt = self._random.choice((0.1, 0.5))
        faults.read = self._random.choice((0.0, 0.2))
        faults.fence = self._random.choice((0.0, 0.3))
        self.world.note(f"commits break: {faults}")
        await asyncio.sleep(self._random.choice((0.5, 5.0, 30.0)))
        faults.end()
        self.world.note("commits break no more")

    async def _slow_network(self) -> None:
        network = self.world.network
        network.slowness = self._random.choice((1.0, 4.0))
        self.world.note(f"packets take up to {network.slowness} s more")
        await asyncio.sleep(self._random.choice((5.0, 60.0)))
        network.slowness = 0.0
        self.world.note("packets are fast again")

    async def _refuse(self) -> None:
        topic = topic_name(self._random.choice(REFUSABLE))
        self.world.cluster.refused.add(topic)
        self.world.note(f"{topic} refuses writes")
        await asyncio.sleep(self._random.choice((0.5, 20.0, 120.0)))
        self.world.cluster.refused.discard(topic)
        self.world.note(f"{topic} takes writes again")

    async def _refuse_fence(self) -> None:
        self.world.log_faults.refuse_fence = True
        self.world.note("no permission on the transactional ids")
        await self._end()
        await asyncio.sleep(self._random.choice((5.0, 60.0)))
        self.world.log_faults.refuse_fence = False
        self.world.note("there is permission on the transactional ids again")

    async def _foreign(self) -> None:
        """Leave somebody else's transaction open; the broker aborts it after its time-out."""
        cluster = self.world.cluster
        partition = self._random.randrange(self.world.partitions)
        topic = self._random.choice((LogicalTopic.JOURNAL, LogicalTopic.NOTICES, LogicalTopic.REQUESTS))
        if topic_name(topic) in cluster.refused:
            return
        name = f"foreign-{self.world.loop.steps}"
        epoch = cluster.init_producer(name)
        key = b"position" if topic is LogicalTopic.JOURNAL else None
        cluster.produce(name, epoch, topic_name(topic), partition, key=key, value=b"x", headers=())
        self.world.note(f"a foreign transaction stands open in {topic} {partition}, for 10 s")

    # --- the payment side, people, time ----------------------------------------------------

    async def _hold(self) -> None:
        world = self.world
        until = world.now() + self._random.choice((1_000, 30_000, 400_000))
        step = self._random.choice((None, *Step))
        world.hold(SimHold(step=step, until_at=until))
        world.note(f"a hold on {step or 'all steps'} for {(until - world.now()) // 1000} s")

    async def _stop_line(self) -> None:
        line = self._random.choice(sorted(set(LINES.values())))
        self.world.side.stopped.add(line)
        self.world.note(f"line {line} is stopped")
        await asyncio.sleep(self._random.choice((1.0, 30.0, 200.0)))
        self.world.side.stopped.discard(line)
        self.world.note(f"line {line} works again")

    async def _jump(self) -> None:
        self.world.jump(self._random.choice((2 * HOUR_MS, HOUR_MS, -HOUR_MS, 1_000, -1_000)))
