"""One shard's view of the simulated cluster: its log, and the feed of its inputs."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from contracts.topics import LogicalTopic, topic_name
from tests.simulation.cluster import ConcurrentTransactions, ProducerFenced, TopicRefused, record_size
from worker.ports import (
    Bounds,
    Fenced,
    Input,
    JournalRecord,
    LogInterrupted,
    Record,
    RestoreStalled,
    WriteRefused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from tests.simulation.cluster import SimCluster, Stored
    from tests.simulation.network import Network
    from worker.ports import Write

Value = TypeVar("Value")

TOPIC_OF = {
    Input.REQUESTS: LogicalTopic.REQUESTS,
    Input.COMMANDS: LogicalTopic.COMMANDS,
    Input.NOTICES: LogicalTopic.NOTICES,
}
BATCH_MOST = 8
BUSY_PAUSE = 0.02
LATE_MOST = 2.0


class Misuse(AssertionError):
    """The shard broke the rules of its log: two calls at once, or a commit without a producer."""


@dataclass(slots=True)
class LogFaults:
    """What goes wrong with a log, each as a share from 0 to 1 of the calls it hits."""

    interrupt: float = 0.0
    """Commits that break off; their fate is committed or aborted, and may be decided later."""
    read: float = 0.0
    """Reads (journal, bounds, fetch) that fail."""
    fence: float = 0.0
    """Fences that fail before or after they had their effect."""
    refuse_fence: bool = False
    """No permission on the transactional ids."""

    def end(self) -> None:
        """Let nothing go wrong any more."""
        self.interrupt = self.read = self.fence = 0.0
        self.refuse_fence = False


class SimLog:
    """`ports.Log` for one partition in one process."""

    def __init__(
        self,
        *,
        cluster: SimCluster,
        network: Network,
        partition: int,
        application: str = "unbinding",
        faults: LogFaults | None = None,
        restore_limit: float = 5.0,
    ) -> None:
        self.misuses: list[str] = []
        self._cluster = cluster
        self._network = network
        self._partition = partition
        self._name = f"{application}-{partition}"
        self._faults = LogFaults() if faults is None else faults
        self._restore_limit = restore_limit
        self._epoch: int | None = None
        self._busy: str | None = None

    @property
    def partition(self) -> int:
        """The partition number that the shard owns in every co-partitioned topic."""
        return self._partition

    async def fence(self) -> None:
        """Fence earlier producers of this partition and abort their open transaction."""
        with self._alone("fence"):
            self._epoch = None
            if self._faults.refuse_fence:
                await self._network.breathe()
                raise WriteRefused(f"partition {self._partition}: no permission on the transactional id")
            if self._strikes(self._faults.fence):
                if self._strikes(0.5):
                    await self._patiently(lambda: self._cluster.init_producer(self._name))
                raise LogInterrupted(f"partition {self._partition}: no answer to InitProducerId; fence again")
            self._epoch = await self._patiently(lambda: self._cluster.init_producer(self._name))

    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal to the high watermark taken when the first batch is asked for."""
        return _Journal(
            cluster=self._cluster,
            network=self._network,
            partition=self._partition,
            limit=self._restore_limit,
            breaks=self._strikes(self._faults.read),
        )

    async def bounds(self) -> Bounds:
        """Ask for the inputs' bounds and the group's commit."""
        with self._alone("bounds"):
            self._read_fault()
            return await self._network.ask(self._bounds)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it in one transaction, or nothing."""
        with self._alone("commit"):
            epoch, self._epoch = self._epoch, None
            if epoch is None:
                self._misused("commit without a producer: fence comes first")
                raise Misuse(self.misuses[-1])
            try:
                await self._transact(epoch, writes)
            except ProducerFenced as error:
                raise Fenced(f"partition {self._partition}: {error}") from error
            except TopicRefused as error:
                await self._give_up(epoch)
                raise WriteRefused(
                    f"partition {self._partition}: {error}", of_input=error.of_input
                ) from error
            self._epoch = epoch

    def fits(self, write: Write) -> bool:
        """Tell whether the broker would take a record of this size."""
        size = record_size(key=write.key, value=write.value, headers=write.headers)
        return size <= self._cluster.record_most

    async def fetch(self, *, topic: str, partition: int, offset: int) -> Record | None:
        """Read one record again at its origin; `None` if it is gone."""
        with self._alone("fetch"):
            self._read_fault()
            # It was read as committed once: a transaction that stands open before it hides nothing.
            found = await self._network.ask(lambda: self._cluster.stored(topic, partition, offset))
            return None if found is None else as_record(found, Input.REQUESTS)

    async def close(self) -> None:
        """Let the producer go; what it has open stays open until it times out or is fenced."""
        self._epoch = None
        # It always takes a moment: a kill can find it there.
        await asyncio.sleep(0)
        await self._network.breathe()

    async def _transact(self, epoch: int, writes: Sequence[Write]) -> None:
        batches: dict[tuple[str, int], list[Write]] = {}
        for write in writes:
            partition = self._partition if write.partition is None else write.partition
            batches.setdefault((topic_name(write.topic), partition), []).append(write)
        places = list(batches)
        self._network.random.shuffle(places)
        breaks = self._strikes(self._faults.interrupt)
        last = self._network.random.randrange(len(places) + 1) if breaks else None
        for index, place in enumerate(places):
            if index == last:
                raise LogInterrupted(
                    f"partition {self._partition}: a batch to {place[0]} got no answer; fence"
                )
            await self._patiently(lambda place=place: self._produce(epoch, place, batches[place]))  # type: ignore[misc]  # mypy can't infer a lambda with a default
        if breaks:
            self._end_sometime(epoch)
            raise LogInterrupted(f"partition {self._partition}: no answer to EndTxn; fence and restore")
        await self._patiently(lambda: self._cluster.end(self._name, epoch, commit=True))

    def _produce(self, epoch: int, place: tuple[str, int], writes: list[Write]) -> None:
        for write in writes:
            self._cluster.produce(
                self._name, epoch, *place, key=write.key, value=write.value, headers=write.headers
            )

    def _end_sometime(self, epoch: int) -> None:
        # The packet is lost, or arrives when nobody waits for it: maybe after the successor's fence.
        def arrive() -> None:
            try:
                self._cluster.end(self._name, epoch, commit=True)
            except (ProducerFenced, ConcurrentTransactions):
                return

        if self._strikes(0.7):
            late = self._network.random.random() * LATE_MOST if self._strikes(0.5) else 0.0
            self._network.outside(late, arrive)

    async def _give_up(self, epoch: int) -> None:
        if self._strikes(0.5):
            try:
                await self._patiently(lambda: self._cluster.end(self._name, epoch, commit=False))
            except ProducerFenced:
                return

    async def _patiently(self, serve: Callable[[], Value]) -> Value:
        while True:
            try:
                return await self._network.ask(serve)
            except ConcurrentTransactions:
                await asyncio.sleep(BUSY_PAUSE)

    def _bounds(self) -> Bounds:
        cluster, partition = self._cluster, self._partition
        names = {source: topic_name(topic) for source, topic in TOPIC_OF.items()}
        return Bounds(
            starts={source: cluster.start(name, partition) for source, name in names.items()},
            ends={source: cluster.high_watermark(name, partition) for source, name in names.items()},
            group_committed=cluster.group_committed(names[Input.REQUESTS], partition),
        )

    def _read_fault(self) -> None:
        if self._strikes(self._faults.read):
            raise LogInterrupted(f"partition {self._partition}: a read got no answer; restore")

    def _strikes(self, share: float) -> bool:
        return share > 0 and self._network.random.random() < share

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        if self._busy is not None:
            self._misused(f"{what} while {self._busy} is under way")
            raise Misuse(self.misuses[-1])
        self._busy = what
        try:
            yield
        finally:
            self._busy = None

    def _misused(self, what: str) -> None:
        self.misuses.append(f"log of partition {self._partition}: {what}")


class _Journal:
    """Reads a journal partition batch by batch, up to the high watermark of its beginning."""

    def __init__(
        self, *, cluster: SimCluster, network: Network, partition: int, limit: float, breaks: bool
    ) -> None:
        self._cluster = cluster
        self._network = network
        self._place = (topic_name(LogicalTopic.JOURNAL), partition)
        self._limit = limit
        self._breaks = breaks
        self._offset = 0
        self._end: int | None = None

    def __aiter__(self) -> AsyncIterator[Sequence[JournalRecord]]:
        return self

    async def __anext__(self) -> Sequence[JournalRecord]:
        end = self._end
        if end is None:
            end = self._end = await self._network.ask(lambda: self._cluster.high_watermark(*self._place))
        if self._breaks and self._network.random.random() < 0.5:
            raise LogInterrupted(f"journal partition {self._place[1]}: a read got no answer; restore")
        try:
            async with asyncio.timeout(self._limit):
                return await self._batch(end)
        except TimeoutError:
            raise RestoreStalled(
                f"journal partition {self._place[1]}: at {self._offset} of {end}, "
                "an open transaction stands before the high watermark"
            ) from None

    async def _batch(self, end: int) -> Sequence[JournalRecord]:
        most = self._network.random.randint(1, BATCH_MOST)
        news = asyncio.Event()
        # Watched before it is asked: what comes while the answer travels must not be missed.
        self._cluster.watch(*self._place, news.set)
        try:
            while self._offset < end:
                news.clear()
                found, offset = await self._network.ask(
                    lambda: self._cluster.read(*self._place, self._offset, most=most, before=end)
                )
                stood = offset == self._offset
                self._offset = offset
                if found:
                    return [
                        JournalRecord(record.key or b"", record.value, record.headers) for record in found
                    ]
                if stood:
                    await news.wait()
        finally:
            self._cluster.unwatch(*self._place, news.set)
        raise StopAsyncIteration


class SimFeed:
    """`ports.Feed` for one partition in one process, and the pump that feeds the shard."""

    def __init__(self, *, cluster: SimCluster, network: Network, partition: int) -> None:
        self.misuses: list[str] = []
        self._cluster = cluster
        self._network = network
        self._partition = partition
        self._positions: dict[Input, int] | None = None
        self._seeks = 0
        self._paused = False
        self._news = asyncio.Event()

    def seek(self, positions: dict[Input, int]) -> None:
        """Feed from these offsets on; what was fed before is void."""
        for source, position in positions.items():
            start = self._cluster.start(topic_name(TOPIC_OF[source]), self._partition)
            if position < start:
                self.misuses.append(
                    f"{source} of partition {self._partition}: sought {position}, it starts at {start}"
                )
        self._positions = dict(positions)
        self._seeks += 1
        self._news.set()

    def pause(self) -> None:
        """Feed no requests for now."""
        self._paused = True

    def resume(self) -> None:
        """Feed requests again."""
        self._paused = False
        self._news.set()

    def stop(self) -> None:
        """Feed nothing until the next seek."""
        self._positions = None
        self._seeks += 1

    async def pump(self, offer: Callable[[list[Record]], None]) -> None:
        """Feed for ever: batches of random size, after random delays, from the sought positions on."""
        topics = [topic_name(topic) for topic in TOPIC_OF.values()]
        for topic in topics:
            self._cluster.watch(topic, self._partition, self._news.set)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._round(offer)
        finally:
            for topic in topics:
                self._cluster.unwatch(topic, self._partition, self._news.set)

    async def _round(self, offer: Callable[[list[Record]], None]) -> None:
        seeks, positions = self._seeks, self._positions
        if positions is None:
            return
        sources = [source for source in positions if source is not Input.REQUESTS or not self._paused]
        self._network.random.shuffle(sources)
        most = self._network.random.randint(1, BATCH_MOST)

        def serve() -> list[tuple[Input, list[Stored], int, bool]]:
            return [(source, *self._read(source, positions[source], most)) for source in sources]

        batch: list[Record] = []
        answer = await self._network.ask(serve)
        if seeks != self._seeks:
            self._news.set()
            return
        for source, found, offset, more in answer:
            if source is Input.REQUESTS and self._paused:
                continue
            positions[source] = offset
            batch += [as_record(stored, source) for stored in found]
            if more:
                self._news.set()
        if batch:
            offer(batch)

    def _read(self, source: Input, position: int, most: int) -> tuple[list[Stored], int, bool]:
        topic = topic_name(TOPIC_OF[source])
        found, offset = self._cluster.read(topic, self._partition, position, most=most)
        return found, offset, offset < self._cluster.last_stable(topic, self._partition)


def as_record(stored: Stored, source: Input) -> Record:
    """Return a stored record as a shard is given it."""
    return Record(
        input=source,
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        timestamp_at=stored.timestamp_at,
        key=stored.key,
        value=stored.value,
        headers=stored.headers,
    )
