"""The pump of a worker: it takes partitions from the group, keeps a shard for each, and feeds them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from worker.crash_points import CrashPoint, pass_all_by
from worker.kafka.feed import PartitionFeed
from worker.kafka.lane import Lane
from worker.kafka.lease import LeaseKeeper, elapsed_ms
from worker.kafka.membership import Membership
from worker.kafka.reader import Reader
from worker.kafka.shard_log import INPUT_TOPICS, LogSettings, ShardLog
from worker.ports import Input

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from worker.crash_points import PassingIn
    from worker.kafka.connection import Connection
    from worker.kafka.lane import Outlet
    from worker.ports import Feed, Lease, Log, Observer, Record

_WAIT_MS: Final = 500
_PACE_MS: Final = 4
_LAST_COMMIT_S: Final = 2.0


class ShardLike(Protocol):
    """What the pump asks of a shard. One object per partition, for as long as its memory is kept."""

    @property
    def state(self) -> str:
        """Name where it is: closed, claiming, open, draining."""
        ...

    def start(self) -> None:
        """Claim, open and serve, in a task of its own; after ``drain`` with the memory kept, if it may."""
        ...

    def offer(self, records: Sequence[Record]) -> None:
        """Take these records, in order, without waiting and without raising."""
        ...

    async def drain(self) -> None:
        """Begin no call, finish those in flight, commit, within its own limit; keep memory and producer."""
        ...

    async def close(self) -> None:
        """Drop everything: memory and producer."""
        ...


S = TypeVar("S", bound=ShardLike)
S_co = TypeVar("S_co", bound=ShardLike, covariant=True)


class MakeShard(Protocol[S_co]):
    """Builds the shard of one partition; given by the wiring."""

    def __call__(self, partition: int, log: Log, feed: Feed, lease: Lease) -> S_co:
        """Return a closed shard."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpSettings:
    """How the pump works. Times in milliseconds, sizes in bytes."""

    instance_id: str | None = None
    """Static membership: a restart within the session moves no partition."""
    drain_limit_ms: int = 20_000
    """A shard that has not drained by then is left; well below the rebalance time-out."""
    partition_bytes: int = 256 * 1024
    """At most this much of one partition in one fetch (or one batch, if that is larger)."""


@dataclass(frozen=True, slots=True)
class _Slot(Generic[S]):
    """One partition of this worker."""

    shard: S
    log: ShardLog
    feed: PartitionFeed

    def offer(self, records: Sequence[Record]) -> None:
        self.shard.offer(records)


class Pump(Generic[S]):
    """Hosts the shards of a worker process. ``run`` until cancelled or failed, then ``stop``."""

    def __init__(
        self,
        *,
        connection: Connection,
        log_settings: LogSettings,
        settings: PumpSettings,
        make_shard: MakeShard[S],
        position_of: Callable[[S], int | None],
        observer: Observer,
        clock: Callable[[], int] = elapsed_ms,
        passing_in: PassingIn = pass_all_by,
    ) -> None:
        """Take ``position_of``: a shard's position in the requests topic, ``None`` before it has one.

        ``passing_in`` hears of crash points.
        """
        self._connection = connection
        self._log_settings = log_settings
        self._settings = settings
        self._make_shard = make_shard
        self._position_of = position_of
        self._observer = observer
        self._passing_in = passing_in
        self._passing = passing_in(None)
        self._slots: dict[int, _Slot[S]] = {}
        self._active: set[int] = set()
        self._drains: dict[int, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._asking = Reader(connection, role="ask")
        self._keeper = LeaseKeeper(
            commit=self._commit,
            positions=self._positions,
            session_timeout_ms=connection.session_timeout_ms,
            observer=observer,
            clock=clock,
            passing=self._passing,
        )
        names = {source: log_settings.names[topic] for source, topic in INPUT_TOPICS.items()}
        self._membership = Membership(
            connection=connection,
            group=log_settings.application,
            topic=names[Input.REQUESTS],
            instance_id=settings.instance_id,
            host=self,
            count_partitions=lambda: self._asking.partition_count(names[Input.REQUESTS]),
            fresh=self._keeper.confirmed_lately,
            observer=observer,
        )
        others: dict[Input, str] = {
            source: name for source, name in names.items() if source is not Input.REQUESTS
        }
        self._lanes = (
            self._lane(Reader(connection, role="requests"), {Input.REQUESTS: names[Input.REQUESTS]}),
            self._lane(Reader(connection, role="inputs"), others),
        )

    @property
    def shards(self) -> Mapping[int, S]:
        """The shards of the partitions that are ours now."""
        return {partition: self._slots[partition].shard for partition in sorted(self._active)}

    @property
    def troubles(self) -> list[str]:
        """What keeps this worker from its work, as far as Kafka is concerned; empty if nothing does."""
        inputs = [
            trouble
            for partition in sorted(self._active)
            for trouble in self._slots[partition].feed.trouble.values()
        ]
        own = self._membership.trouble
        return inputs if own is None else [own, *inputs]

    async def run(self) -> None:
        """Be a member of the group, feed the shards, keep the leases, until cancelled.

        Raises InstanceIdTaken (the process should end, after ``stop``).
        """
        work: tuple[Coroutine[Any, Any, None], ...] = (
            self._membership.run(),
            self._keeper.run(),
            *(lane.run() for lane in self._lanes),
        )
        tasks = [asyncio.create_task(part) for part in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Drain all shards, commit the last positions, leave the group, let everything go."""
        held = frozenset(self._active)
        await self._drain(held)
        self._passing(CrashPoint.DRAINED)
        # Only shown: an end is not held up for it when the broker is away.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self._keeper.renew()
        self._keeper.end(held)
        await self._membership.leave()
        self._passing(CrashPoint.LEFT)
        self._active.clear()
        slots = [self._slots.pop(partition) for partition in list(self._slots)]
        await asyncio.gather(*(_close(slot) for slot in slots))
        if self._chores:
            await asyncio.wait(self._chores)
        for lane in self._lanes:
            await lane.close()
        await self._asking.close()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Start the shards of these partitions, drop those that have gone elsewhere; returns at once."""
        for partition in self._slots.keys() - partitions:
            self._later(_close(self._slots.pop(partition)))
        self._active = set(partitions)
        self._keeper.begin(partitions)
        for partition in sorted(partitions):
            self._slot(partition).shard.start()
        self._observer.log("partitions.assigned", partitions=sorted(partitions))

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Drain these shards, within the limit. Their memory stays until it is known who has them."""
        held = partitions & self._active
        await self._drain(held)
        self._keeper.end(held)
        self._active -= held
        self._observer.log("partitions.revoked", partitions=sorted(partitions))

    def lost(self, partitions: frozenset[int]) -> None:
        """End the leases of these partitions at once."""
        self._keeper.end(partitions)

    async def _drain(self, partitions: frozenset[int]) -> None:
        """Drain these shards side by side; a shard that is draining already is not asked twice."""
        for partition in partitions - self._drains.keys():
            self._slots[partition].feed.shut()
            self._drains[partition] = asyncio.create_task(self._slots[partition].shard.drain())
        drains = {self._drains[partition]: partition for partition in partitions}
        if not drains:
            return
        _done, late = await asyncio.wait(drains, timeout=self._settings.drain_limit_ms / 1000)
        for task in late:
            task.cancel()
        await asyncio.wait(drains)
        for task, partition in drains.items():
            self._drains.pop(partition, None)
            if task in late:
                cause = f"not drained within {self._settings.drain_limit_ms} ms; its calls in flight are left"
                self._observer.log("drain.failed", partition=partition, cause=cause)
            elif not task.cancelled() and (error := task.exception()) is not None:
                self._observer.log("drain.failed", partition=partition, cause=repr(error))

    def _slot(self, partition: int) -> _Slot[S]:
        if partition not in self._slots:
            log = ShardLog(
                partition=partition,
                connection=self._connection,
                reader=self._asking,
                settings=self._log_settings,
                passing=self._passing_in(partition),
            )
            feed = PartitionFeed(changed=self._wake, opened=self._keeper.kick)
            shard = self._make_shard(partition, log, feed, self._keeper.lease(partition))
            self._slots[partition] = _Slot(shard, log, feed)
        return self._slots[partition]

    def _lane(self, reader: Reader, topics: Mapping[Input, str]) -> Lane:
        return Lane(
            reader=reader,
            topics=topics,
            outlets=self._outlets,
            wait_ms=_WAIT_MS,
            pace_ms=_PACE_MS,
            partition_bytes=self._settings.partition_bytes,
            observer=self._observer,
        )

    def _outlets(self) -> Mapping[int, Outlet]:
        return {partition: self._slots[partition] for partition in self._active}

    def _wake(self) -> None:
        for lane in self._lanes:
            lane.wake()

    async def _commit(self, positions: Mapping[int, int]) -> None:
        await self._membership.commit(positions)

    def _positions(self) -> Mapping[int, int]:
        found = {partition: self._position_of(self._slots[partition].shard) for partition in self._active}
        return {partition: position for partition, position in found.items() if position is not None}

    def _later(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


async def _close(slot: _Slot[Any]) -> None:
    slot.feed.shut()
    await slot.shard.close()
    await slot.log.close()
