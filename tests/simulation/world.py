"""Workers that share partitions, and what can happen to them: killed, frozen, cut off, moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from contracts.topics import LogicalTopic, partition_of, topic_name
from tests.simulation.cluster import SimCluster
from tests.simulation.crash_points import points
from tests.simulation.hub import Caller, PaymentSide, SimHub
from tests.simulation.log import TOPIC_OF, LogFaults, SimFeed, SimLog
from tests.simulation.loop import Life, Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.process import Ports, Seat, SimHold, SimLease, SimWorker
from tests.simulation.setting import Setting
from worker.ports import Input
from worker.shard import journal
from worker.shard.pace import Linger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.crash_points import Point
    from tests.simulation.process import Shard

EPOCH_MS = 1_767_225_600_000
"""Where the simulated wall clock starts: 2026-01-01."""
SESSION = 20.0
"""Seconds without contact after which the group gives a worker's partitions to others."""
REBALANCE_LIMIT = 30.0
"""Seconds for which the group waits until a worker has let a partition go."""
HOUR_MS = 3_600_000


class World:
    """One simulation: a loop, a cluster, a payment side, workers. Everything random comes from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        make_shard: Callable[[Ports], Shard],
        partitions: int = 2,
        calm: bool = False,
        setting: Setting | None = None,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - a seed, no secret
        self.loop = SimLoop(ties=None if calm else self.random.random)
        self.network = Network(loop=self.loop, random=self.random)
        self.partitions = partitions
        self.setting = Setting() if setting is None else setting
        """What workers are started with from now on."""
        self.skew_most_ms = 0
        """How far the clocks of workers that start from now on may be off."""
        self.side = PaymentSide()
        self.holds: list[SimHold] = []
        self.log_faults = LogFaults()
        self.workers: list[SimWorker] = []
        self.owners: dict[int, SimWorker | None] = dict.fromkeys(range(partitions))
        self.diary: list[str] = []
        """What was done to the world, with the step and the simulated second."""
        self.reached: Counter[str] = Counter()
        """What the shards told, and which deeds were done, as `coverage` names them."""
        self.crash_points: set[Point] = set()
        """Where in the shard's code the tasks of killed workers stood."""
        self.lost: set[str] = set()
        """The requests that retention deleted before anybody took them, by origin."""
        self.cluster = SimCluster(
            partitions=partitions,
            now=self.now,
            moment=lambda: self.loop.steps,
            later=self.network.outside,
            marker_delay=self.network.delay,
            record_most=self.setting.record_most,
        )
        self._make_shard = make_shard
        self._jump_ms = 0
        self._moving = {partition: asyncio.Lock() for partition in range(partitions)}
        self._born = 0
        self._planned: list[tuple[int, Callable[[], None]]] = []
        self.loop.before_step = self._before_step
        self._all: list[SimWorker] = []

    # --- time ----------------------------------------------------------------

    def now(self) -> int:
        """Return the wall clock: ms since the Unix epoch, jumps included."""
        return EPOCH_MS + self._jump_ms + int(self.loop.time() * 1000 + 0.001)

    def jump(self, milliseconds: int) -> None:
        """Let the wall clock jump; timers of the loop do not notice."""
        self._jump_ms += milliseconds
        self.note(f"the clock jumps by {milliseconds} ms")

    def note(self, what: str) -> None:
        """Write a line into the diary."""
        self.diary.append(f"step {self.loop.steps} at {self.loop.time():.3f} s: {what}")

    def reach(self, event: str, cause: str = "") -> None:
        """Count what a shard told."""
        self.reached[f"{event} | {cause}" if cause else event] += 1

    # --- workers ---------------------------------------------------------------

    def hire(self) -> SimWorker:
        """Start a worker; the group gives it nothing yet."""
        self._born += 1
        setting = self.setting
        worker = SimWorker(
            self,
            Process(f"worker-{self._born}"),
            setting,
            skew_ms=self.random.randint(-self.skew_most_ms, self.skew_most_ms),
            linger=_linger(self.loop) if setting.lingers else None,
        )
        self.workers.append(worker)
        self._all.append(worker)
        self.note(f"{worker.name} starts")
        return worker

    def seat(self, worker: SimWorker, partition: int) -> Seat:
        """Make a shard with its ports; called in the worker's process."""
        feed = SimFeed(cluster=self.cluster, network=self.network, partition=partition)
        log = SimLog(cluster=self.cluster, network=self.network, partition=partition, faults=self.log_faults)
        caller = Caller(name=worker.name, now=worker.now, moment=lambda: self.loop.steps, owner=self.owner_of)
        ports = Ports(
            log=log,
            feed=feed,
            hub=SimHub(side=self.side, network=self.network, caller=caller),
            lease=SimLease(worker, partition),
            holds=worker.holds,
            clock=worker.now,
            chance=self.random.random,
            partitions=self.partitions,
            setting=worker.setting,
            linger=worker.linger,
            tell=lambda line: self.note(f"{worker.name}: {line}"),
            reach=self.reach,
        )
        return Seat(shard=self._make_shard(ports), feed=feed, log=log)

    def owner_of(self, binding_id: str) -> str | None:
        """Name the process that the group has given the binding's partition to."""
        owner = self.owners[partition_of(binding_id, self.partitions)]
        return None if owner is None else owner.name

    def give(self, partition: int, worker: SimWorker) -> None:
        """Give a partition without an owner to a worker."""
        self.owners[partition] = worker
        self.note(f"partition {partition} goes to {worker.name}")
        self.loop.spawn(worker.process, worker.claim(partition), name=f"claim {partition}")

    async def move(self, partition: int, worker: SimWorker) -> None:
        """Move a partition: its owner drains it, while the group waits, then the worker claims it."""
        async with self._moving[partition]:
            owner = self.owners[partition]
            if owner is not None and owner.process.life is Life.RUNS:
                revoked = self.loop.spawn(owner.process, owner.revoke(partition), name=f"revoke {partition}")
                await asyncio.wait([revoked], timeout=REBALANCE_LIMIT)
                if self.owners[partition] is not owner or owner not in self.workers:
                    # It died, or was expelled, meanwhile: the group has decided otherwise.
                    return
                if not revoked.done():
                    self.note(f"{owner.name} did not let partition {partition} go in time")
                    owner.assigned.discard(partition)
            if worker not in self.workers:
                worker = self.random.choice(self.workers) if self.workers else self.hire()
            self.give(partition, worker)

    def kill(self, worker: SimWorker) -> None:
        """Kill a worker: none of its tasks makes another step."""
        self.note(f"{worker.name} is killed")
        self.crash_points |= points(self.loop.tasks_of(worker.process))
        self.loop.kill(worker.process)
        if worker in self.workers:
            self.workers.remove(worker)

    def at_step(self, step: int, strike: Callable[[], None]) -> None:
        """Call `strike` right before that step of the loop runs."""
        self._planned.append((step, strike))

    def _before_step(self, step: int) -> None:
        due = [strike for at, strike in self._planned if step >= at]
        if due:
            self._planned = [(at, strike) for at, strike in self._planned if step < at]
            for strike in due:
                strike()

    async def leave(self, worker: SimWorker) -> None:
        """Ask a worker to end: it lets all go, then its process is gone."""
        self.note(f"{worker.name} is asked to end")
        if worker in self.workers:
            self.workers.remove(worker)
        closing = self.loop.spawn(worker.process, worker.close(), name="close")
        await asyncio.wait([closing], timeout=REBALANCE_LIMIT)
        if worker.process.life is not Life.DEAD:
            self.note(f"{worker.name} has ended" if closing.done() else f"{worker.name} ends in the midst")
            self.loop.kill(worker.process)

    def replace(self, dead: SimWorker) -> SimWorker:
        """Start a worker in the place of a dead one and give it the partitions."""
        worker = self.hire()
        for partition, owner in self.owners.items():
            if owner is dead:
                self.give(partition, worker)
        return worker

    def freeze(self, worker: SimWorker) -> None:
        """Stop a worker as SIGSTOP does; after the session its partitions go to others."""
        self.note(f"{worker.name} is frozen")
        self.loop.freeze(worker.process)
        self._lose_contact(worker)

    def thaw(self, worker: SimWorker) -> None:
        """Let a frozen worker go on: it believes what it believed, until it hears from the group."""
        self.note(f"{worker.name} is thawed")
        self.loop.thaw(worker.process)
        self._find_contact(worker)

    def cut(self, worker: SimWorker) -> None:
        """Cut a worker off from the group's coordinator; its log and its calls still work."""
        self.note(f"{worker.name} is cut off from the group")
        self._lose_contact(worker)

    def mend(self, worker: SimWorker) -> None:
        """Let a worker hear from the group again."""
        self.note(f"{worker.name} hears from the group again")
        self._find_contact(worker)

    def _lose_contact(self, worker: SimWorker) -> None:
        since = worker.cut_at = self.loop.time()

        def expire() -> None:
            if worker.cut_at == since and worker.process.life is not Life.DEAD:
                self._expel(worker)

        self.network.outside(SESSION, expire)

    def _expel(self, worker: SimWorker) -> None:
        self.note(f"the session of {worker.name} has ended")
        others = [other for other in self.workers if other is not worker and other.cut_at is None]
        for partition, owner in self.owners.items():
            if owner is worker:
                self.owners[partition] = None
                if others:
                    self.give(partition, self.random.choice(others))

    def _find_contact(self, worker: SimWorker) -> None:
        since = worker.cut_at

        def hear() -> None:
            if worker.process.life is not Life.RUNS or worker.cut_at != since:
                return
            # A member learns what it lost before it can prove anything again.
            lost = [
                partition for partition in sorted(worker.assigned) if self.owners[partition] is not worker
            ]
            worker.assigned.difference_update(lost)
            worker.cut_at = None
            for partition in lost:
                self.loop.spawn(worker.process, self._lost(worker, partition), name=f"lost {partition}")
            worker.renew()

        # As after a wake-up: heartbeats and the next proof take a while, and tasks run before they do.
        self.network.outside(self.random.random() * 3, hear)

    async def _lost(self, worker: SimWorker, partition: int) -> None:
        await worker.revoke(partition)
        if self.owners[partition] is None:
            self.give(partition, worker)

    # --- the broker and upstream -------------------------------------------------

    def send(
        self,
        topic: LogicalTopic,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        """Append a record as upstream or on-call does."""
        self.cluster.append(topic_name(topic), partition, key=key, value=value, headers=tuple(headers))

    def taken(self, partition: int) -> dict[Input, int]:
        """Return the position that the journal of a partition has, as a god sees it."""
        name = topic_name(LogicalTopic.JOURNAL)
        for stored in reversed(self.cluster.archive(name, partition)):
            if stored.key == journal.POSITION and stored.value is not None and stored.transaction is not None:
                return journal.decode_position(stored.value).offsets
        return {}

    def retain(self, partition: int) -> None:
        """Let retention delete all inputs of a partition that were taken: sagas may still be open."""
        for source, offset in self.taken(partition).items():
            self.cluster.retain(topic_name(TOPIC_OF[source]), partition, start=offset)
        self.note(f"retention deletes what was taken from the inputs of partition {partition}")

    def lose(self, partition: int, *, most: int) -> None:
        """Let retention delete up to `most` requests of a partition that nobody has taken."""
        name, position = topic_name(LogicalTopic.REQUESTS), self.taken(partition).get(Input.REQUESTS, 0)
        start = min(position + most, self.cluster.high_watermark(name, partition))
        gone = self.cluster.archive(name, partition)
        self.lost |= {f"{name}/{partition}/{old.offset}" for old in gone if position <= old.offset < start}
        self.cluster.retain(name, partition, start=start)
        self.note(f"retention deletes the requests of partition {partition} before offset {start}")

    def compact(self) -> None:
        """Compact the compacted topics of one partition up to a random offset."""
        partition = self.random.randrange(self.partitions)
        for topic in (LogicalTopic.JOURNAL, LogicalTopic.DEAD_LETTERS):
            name = topic_name(topic)
            before = self.random.randint(0, self.cluster.high_watermark(name, partition))
            self.cluster.compact(name, partition, before=before)
        self.note(f"partition {partition} is compacted")

    def commit_group(self) -> None:
        """Commit the group's offsets of all partitions that have an owner, as the lease does."""
        name = topic_name(LogicalTopic.REQUESTS)
        for partition, owner in self.owners.items():
            if owner is not None and partition in owner.seats:
                position = owner.seats[partition].shard.position()
                if position is not None and Input.REQUESTS in position:
                    self.cluster.commit_group(name, partition, position[Input.REQUESTS])

    def hold(self, hold: SimHold) -> None:
        """Place a hold; each worker hears of it a little later."""
        self.holds.append(hold)
        for worker in self.workers:
            self.loop.spawn(worker.process, self._tell(worker), name="holds")

    async def _tell(self, worker: SimWorker) -> None:
        await self.network.breathe()
        worker.hear_of_holds()

    # --- the end -------------------------------------------------------------------

    def misuses(self) -> list[str]:
        """Return what shards did that their ports forbid, and what nobody caught."""
        seats = [seat for worker in self._all for seat in worker.seats.values()]
        found = [line for seat in seats for line in (*seat.log.misuses, *seat.feed.misuses)]
        return found + self.loop.complaints


def _linger(loop: SimLoop) -> Linger:
    """Return a linger that begins to wait at the second commit within a second."""
    return Linger(now=loop.time, calm_per_s=1.0, busy_per_s=5.0, most_s=0.2)
