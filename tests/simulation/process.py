"""A worker process in the simulated world: its shards, their ports, what it believes of its group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.simulation.hub import Stumble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contracts.states import Step
    from tests.simulation.log import SimFeed, SimLog
    from tests.simulation.loop import Process
    from tests.simulation.setting import Setting
    from tests.simulation.world import World
    from worker.ports import Feed, Holds, Hub, Input, Lease, Log, Record
    from worker.shard.pace import Linger

LEASE_AGE = 6.0
"""Seconds after the last contact with the group in which a call may begin; below the session."""
POISON = "merchant-poison"
"""A merchant at whose requests the holds stumble, as over a mistake of ours."""


class Shard(Protocol):
    """What the world needs of a shard."""

    def start(self) -> None:
        """Claim the partition and open, in a task of its own."""
        ...

    def offer(self, records: list[Record]) -> None:
        """Take records that were fed."""
        ...

    def holds_changed(self) -> None:
        """Look again at what is held."""
        ...

    def position(self) -> Mapping[Input, int] | None:
        """Return the committed position of an open shard."""
        ...

    async def drain(self) -> None:
        """Let the partition go: no new calls, the results of the old ones written."""
        ...

    async def close(self) -> None:
        """Drain, and drop memory and producer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All that a shard gets."""

    log: Log
    feed: Feed
    hub: Hub
    lease: Lease
    holds: Holds
    clock: Callable[[], int]
    chance: Callable[[], float]
    partitions: int
    setting: Setting
    linger: Linger | None
    """Shared by the shards of the process."""
    tell: Callable[[str], None]
    """Takes a line for the diary."""
    reach: Callable[[str, str], None]
    """Takes a log event and its cause, to be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimHold:
    """A hold on one step, or on all."""

    step: Step | None
    until_at: int


class SimHolds:
    """`ports.Holds`: what the world holds, once it is known."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reading_s = world.random.choice((0.0, 0.0, world.random.random(), 20 * world.random.random()))
        """How long it takes to read the topic, in seconds."""
        self.read = False

    def known(self) -> bool:
        """Tell whether the topic has been read whole."""
        return self.read

    def held_until(
        self, *, step: Step, auth_client_id: str | None, merchants: Sequence[str], now_at: int
    ) -> int | None:
        """When the hold ends that covers the step; narrower scopes are the real holds' business."""
        del auth_client_id
        if POISON in merchants:
            raise Stumble("holds stumble over this merchant")
        ends = [
            hold.until_at
            for hold in self._world.holds
            if hold.step in (None, step) and now_at < hold.until_at
        ]
        return max(ends, default=None)


class SimLease:
    """`ports.Lease` of one partition in one worker."""

    def __init__(self, worker: SimWorker, partition: int) -> None:
        self._worker = worker
        self._partition = partition

    def live(self) -> bool:
        """Tell whether the worker has proven its membership within the lease's age, as far as it knows."""
        return self._partition in self._worker.assigned and self._worker.proven()

    async def wait(self) -> None:
        """Return when it is live."""
        while not self.live():
            await self._worker.renewed()


@dataclass(slots=True)
class Seat:
    """One shard in one worker, with what feeds it."""

    shard: Shard
    feed: SimFeed
    log: SimLog
    pump: asyncio.Task[None] | None = None


@dataclass(eq=False)
class SimWorker:
    """One process: its shards, and what it believes of its membership."""

    world: World
    process: Process
    setting: Setting
    """What it was started with."""
    skew_ms: int = 0
    """How far its clock is ahead of the world's."""
    linger: Linger | None = None
    seats: dict[int, Seat] = field(default_factory=dict)
    assigned: set[int] = field(default_factory=set)
    cut_at: float | None = None
    """Since when it has had no contact with the group's coordinator."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    holds: SimHolds = field(init=False)

    def __post_init__(self) -> None:
        """Let each process read the holds anew."""
        self.holds = SimHolds(self.world)
        self.world.loop.spawn(self.process, self._read_holds(), name="holds")

    async def _read_holds(self) -> None:
        await asyncio.sleep(self.holds.reading_s)
        self.holds.read = True
        self.hear_of_holds()

    def hear_of_holds(self) -> None:
        """Tell the shards that the holds moved."""
        for seat in self.seats.values():
            seat.shard.holds_changed()

    @property
    def name(self) -> str:
        """Its name; a restarted worker has a new one."""
        return self.process.name

    def now(self) -> int:
        """Return the time by its clock: ms since the Unix epoch."""
        return self.world.now() + self.skew_ms

    def proven(self) -> bool:
        """Tell whether its last proof of membership is young enough."""
        return self.cut_at is None or self.world.loop.time() - self.cut_at < LEASE_AGE

    async def renewed(self) -> None:
        """Return when membership or assignment has changed."""
        change: asyncio.Future[None] = self.world.loop.create_future()
        self.waiting.append(change)
        await change

    def renew(self) -> None:
        """Wake all that wait for a lease."""
        waiting, self.waiting = self.waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    async def claim(self, partition: int) -> None:
        """Open the shard of a partition that the group has given to this worker."""
        self.assigned.add(partition)
        seat = self.seats.get(partition)
        if seat is None:
            seat = self.seats[partition] = self.world.seat(self, partition)
        if seat.pump is None:
            seat.pump = self.world.loop.create_task(
                seat.feed.pump(seat.shard.offer), name=f"pump {partition}"
            )
        self.renew()
        seat.shard.start()

    async def close(self) -> None:
        """Let all partitions go for good, as a worker does that is asked to end."""
        for partition in sorted(self.assigned):
            await self.revoke(partition, for_good=True)

    async def revoke(self, partition: int, *, for_good: bool = False) -> None:
        """Drain the shard of a partition that the group takes away."""
        seat = self.seats.get(partition)
        if seat is not None:
            await (seat.shard.close() if for_good else seat.shard.drain())
            seat.feed.stop()
            if seat.pump is not None:
                seat.pump.cancel()
                seat.pump = None
        self.assigned.discard(partition)
