"""A shard's log on Kafka: one transactional producer per partition, and readers without a group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka
from aiokafka.structs import RecordMetadata, TopicPartition

from contracts.topics import LogicalTopic
from worker.crash_points import CrashPoint, pass_by
from worker.kafka.fates import Fate
from worker.kafka.faults import CLIENT_ERRORS, HOPELESS, fault_of, read_fault_of
from worker.kafka.hanging import give_markers, open_ends, still_open, told_by_journal
from worker.kafka.producers import (
    Compression,
    bury,
    make_producer,
    producer_identity,
    refusal_of,
    start_producer,
)
from worker.kafka.reachability import explained
from worker.kafka.reader import EARLIEST, LATEST, Fetched, Reader
from worker.kafka.records import to_record
from worker.ports import (
    Bounds,
    Input,
    JournalRecord,
    LogError,
    LogInterrupted,
    Record,
    RestoreStalled,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaProducer
    from aiokafka.producer.message_accumulator import BatchBuilder

    from worker.crash_points import Passing
    from worker.kafka.connection import Connection
    from worker.kafka.fates import LastTransaction

INPUT_TOPICS: Final[Mapping[Input, LogicalTopic]] = {
    Input.REQUESTS: LogicalTopic.REQUESTS,
    Input.COMMANDS: LogicalTopic.COMMANDS,
    Input.NOTICES: LogicalTopic.NOTICES,
}
_OWN: Final = (
    LogicalTopic.JOURNAL,
    LogicalTopic.STATES,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
"""Of these a shard alone writes its partition."""
_SHARED: Final = (LogicalTopic.REQUESTS, LogicalTopic.NOTICES)
"""Into these it forwards, in any partition; upstream writes there, too."""
_RECORD_OVERHEAD: Final = 128
"""Bytes of a batch of one record besides key, value and headers, rounded up."""
_HEADER_OVERHEAD: Final = 10
_RETRY_S: Final = 0.05
_MISSING_TOPIC_MS: Final = 3_000
_RESTORE_WAIT_MS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What all shards' logs of a worker have in common. Times in milliseconds, sizes in bytes."""

    application: str
    names: Mapping[LogicalTopic, str]
    """The topics' names on this cluster."""
    transaction_timeout_ms: int = 10_000
    """After this the broker aborts a dead worker's transaction, which hides later events until then."""
    commit_limit_ms: int = 10_000
    fence_limit_ms: int = 15_000
    stall_limit_ms: int = 30_000
    """A restore without progress for this long has stalled: longer than any transaction may stay open."""
    record_bytes: int = 1_000_000
    """Above this a record does not fit; less than ``max.message.bytes`` (Kafka's default: 1,048,588)."""
    batch_bytes: int = 256 * 1024
    """Records of one partition travel in batches up to this size; each batch must fit, too."""
    restore_bytes: int = 1024 * 1024
    compression: Compression = "none"


class ShardLog:
    """One shard's view of the log (ports.Log). Only the shard's own loop calls it, one call at a time."""

    def __init__(
        self,
        *,
        partition: int,
        connection: Connection,
        reader: Reader,
        settings: LogSettings,
        passing: Passing = pass_by,
    ) -> None:
        """Take the shared ``reader``; nothing is opened before ``fence``.

        ``passing`` hears of the crash points.
        """
        self._partition = partition
        self._connection = connection
        self._reader = reader
        self._settings = settings
        self._id = f"{settings.application}-{partition}"
        self._passing = passing
        self._producer: AIOKafkaProducer | None = None
        self._journal_end = 0
        """The journal has had as many offsets: a topic that was made anew begins again below."""
        self._stamped_at = 0
        """The timestamp of the last transaction's records: see `traces`."""
        self._last: LastTransaction | None = None
        """What was known of this id's last transaction before a fence whose work is not done yet."""
        self._burials: set[asyncio.Task[None]] = set()

    @property
    def partition(self) -> int:
        """The partition number that this shard owns in every co-partitioned topic."""
        return self._partition

    async def fence(self) -> None:
        """Start a fresh producer under the partition's own id; see ports.Log."""
        self._give_up()
        await self._reader.refresh()  # a topic that has gone must hold up nobody
        before = await self._open_ends()
        # Remembered until all is done: after the fence the coordinator does not know it any more.
        last = self._last = await self._reader.last_transaction(self._id) or self._last
        producer = make_producer(
            self._connection,
            transactional_id=self._id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
            batch_bytes=self._settings.batch_bytes,
            compression=self._settings.compression,
        )
        try:
            await start_producer(producer, limit_ms=self._settings.fence_limit_ms)
        except kafka.KafkaConnectionError as error:
            cause = await explained(error, self._connection)
            raise fault_of(cause, doing=f"start producer {self._id}") from error
        except CLIENT_ERRORS as error:
            raise fault_of(error, doing=f"start producer {self._id}") from error
        self._producer = producer
        if last is not None:
            holds = last.holds_for(**producer_identity(producer))
            last = self._last = last.settled() if holds else None
        await self._end_hanging(producer, last, before)
        self._last = None

    async def _end_hanging(
        self, producer: AIOKafkaProducer, last: LastTransaction | None, before: Mapping[TopicPartition, int]
    ) -> None:
        """Give records of this id that hang the markers that they lack; see `hanging`.

        Every transaction writes the journal, and any later one would have closed it: where it hangs, it is
        the last transaction that does. ``before``: what stood open before that one was asked for. Where only
        others hang, the journal tells how they ended (`traces`). Raises RestoreStalled where that is not
        certain: our next commit would show them.
        """
        found = await self._open_ends()
        journal = self._own(LogicalTopic.JOURNAL)
        ours: set[TopicPartition] = set()
        if last is not None and journal in found:
            aborted = last.fate is Fate.ABORTED
            # What was opened after the question is not what the answer was about.
            ours = {tp for tp, offset in found.items() if aborted or before.get(tp) == offset}
        # The journal's end is waited for, and told, by the restore itself.
        unknown = found.keys() - ours - {journal}
        told = await self._told_by_journal(producer, {tp: found[tp] for tp in unknown})
        if unknown - told.keys():
            self._give_up()
            raise RestoreStalled(_hangs(unknown - told.keys(), self._id))
        for fate in Fate:
            await self._give_markers(producer, {tp for tp, one in told.items() if one is fate}, fate)
        if last is None or not ours:
            return
        await self._give_markers(producer, ours, last.fate)
        self._last = None
        shared: set[TopicPartition] = set()
        with suppress(LogInterrupted):  # where others' partitions cannot be looked at, ours open all the same
            shared = await still_open(self._reader, await self._existing(_SHARED))
        # Of forwarded records shown is better than lost: one that comes twice is recognised.
        await self._give_markers(producer, shared, Fate.COMMITTED)

    async def _told_by_journal(
        self, producer: AIOKafkaProducer, stretches: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Fate]:
        """Return how what hangs from these offsets on has ended, where the journal tells."""
        try:
            return await told_by_journal(
                self._reader,
                self._own(LogicalTopic.JOURNAL),
                stretches,
                producer_id=producer_identity(producer)["producer_id"],
                partition_bytes=self._settings.restore_bytes,
            )
        except LogError:
            self._give_up()
            raise

    async def _give_markers(
        self, producer: AIOKafkaProducer, partitions: Collection[TopicPartition], fate: Fate
    ) -> None:
        if not partitions:
            return
        try:
            async with asyncio.timeout(self._settings.commit_limit_ms / 1000):
                await give_markers(producer, partitions, fate)
        except CLIENT_ERRORS as error:
            self._give_up()
            raise fault_of(error, doing=f"end what hangs of {self._id}") from error

    async def _open_ends(self) -> dict[TopicPartition, int]:
        """Return what stands open where this shard alone writes."""
        own = {tp for tp in await self._existing(_OWN) if tp.partition == self._partition}
        return await open_ends(self._reader, own)

    async def _existing(self, topics: Iterable[LogicalTopic]) -> set[TopicPartition]:
        """Return the partitions of the topics that are there, as far as we may know."""
        found: set[TopicPartition] = set()
        for topic in topics:
            name = self._settings.names[topic]
            with suppress(LogError):
                count = await self._reader.partition_count(name)
                found |= {TopicPartition(name, number) for number in range(count)}
        return found

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it in one transaction, or nothing; see ports.Log.

        After any error the producer is gone. A lost answer to the end of the transaction leaves its fate to
        the next ``fence``: the coordinator finishes or aborts it before it hands out the new producer id.
        Raises ValueError for no writes: an empty transaction would ask nobody whether we still own the id.
        """
        if not writes:
            raise ValueError("a transaction needs at least one write: an empty one proves nothing")
        producer = self._producer
        if producer is None:
            raise LogInterrupted(f"commit of {self._id}: there is no producer; fence first")
        done = False
        try:
            async with asyncio.timeout(self._settings.commit_limit_ms / 1000):
                await self._transact(producer, writes)
            done = True
        except LogError:
            raise
        except CLIENT_ERRORS as error:
            await self._blame_missing_topic(producer, writes, error)
            cause = refusal_of(producer) or error
            raise fault_of(cause, doing=f"commit of {self._id} ({self._targets(writes)})") from error
        finally:
            if not done:
                self._give_up()

    def fits(self, write: Write) -> bool:
        """Tell whether the broker would take a record of this size."""
        size = _RECORD_OVERHEAD + len(write.key or b"") + len(write.value or b"")
        for name, value in write.headers:
            size += _HEADER_OVERHEAD + len(name) * 4 + len(value)
        return size <= self._settings.record_bytes

    async def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal from its start to the high watermark of now; see ports.Log.

        Progress is judged by the position: markers and compaction leave gaps, and emptied batches count too.
        """
        tp = self._own(LogicalTopic.JOURNAL)
        mark = await self._end_of(tp)
        self._journal_end = mark
        position = (await self._reader.offsets([tp], at=EARLIEST))[tp]
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while position < mark:
            fetched = await self._fetch(tp, position, committed=True)
            if fetched.position > position:
                position, moved = fetched.position, loop.time()
                yield _journal_records(fetched, mark)
            elif isinstance(fetched.error, HOPELESS):
                raise read_fault_of(fetched.error, doing=f"restore of {tp.topic}/{tp.partition}")
            elif (loop.time() - moved) * 1000 >= self._settings.stall_limit_ms:
                raise RestoreStalled(_stalled(tp, mark, position, fetched))
            elif fetched.error is not None:
                await asyncio.sleep(_RETRY_S)

    async def bounds(self) -> Bounds:
        """Ask for the inputs' bounds and the group's commit. Raises LogInterrupted."""
        inputs = {source: self._own(topic) for source, topic in INPUT_TOPICS.items()}
        starts, ends, committed = await asyncio.gather(
            self._reader.offsets(inputs.values(), at=EARLIEST),
            self._reader.offsets(inputs.values(), at=LATEST),
            self._reader.committed(self._settings.application, inputs[Input.REQUESTS]),
        )
        return Bounds(
            starts={source: starts[tp] for source, tp in inputs.items()},
            ends={source: ends[tp] for source, tp in inputs.items()},
            group_committed=committed,
        )

    async def fetch(self, *, topic: str, partition: int, offset: int) -> Record | None:
        """Read one record again at its origin, ``None`` if it is gone or lies in no input's topic.

        Raises LogInterrupted.
        """
        names = {self._settings.names[logical]: source for source, logical in INPUT_TOPICS.items()}
        source = names.get(topic)
        if source is None or not 0 <= partition < await self._reader.partition_count(topic):
            return None
        tp = TopicPartition(topic, partition)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.commit_limit_ms / 1000
        while True:
            # Uncommitted: it was read as committed once; an open transaction after it must not hide it.
            fetched = await self._fetch(tp, offset, committed=False)
            if fetched.position > offset:
                found = next((record for record in fetched.records if record.offset == offset), None)
                return None if found is None else to_record(found, source=source, tp=tp)
            if isinstance(fetched.error, kafka.OffsetOutOfRangeError):
                return None
            # A new leader may not know yet how far its partition is committed; asked for its end it says so.
            if fetched.high_watermark == offset and await self._end_of(tp) == offset:
                return None
            if loop.time() >= deadline:
                reason = fetched.error or "no answer in time"
                raise LogInterrupted(f"read {topic}/{partition}/{offset} again: {reason!r}")
            await asyncio.sleep(_RETRY_S)

    async def close(self) -> None:
        """Let the producer go. An open transaction is aborted by the broker in time."""
        self._give_up()
        if self._burials:
            await asyncio.wait(self._burials)

    def _own(self, topic: LogicalTopic) -> TopicPartition:
        return TopicPartition(self._settings.names[topic], self._partition)

    def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            burial = asyncio.create_task(bury(producer), name=f"bury-{self._id}")
            self._burials.add(burial)
            burial.add_done_callback(self._burials.discard)

    async def _fetch(self, tp: TopicPartition, position: int, *, committed: bool) -> Fetched:
        return await self._reader.fetch(
            tp,
            position,
            committed=committed,
            wait_ms=_RESTORE_WAIT_MS,
            partition_bytes=self._settings.restore_bytes,
        )

    async def _end_of(self, tp: TopicPartition) -> int:
        return (await self._reader.offsets([tp], at=LATEST))[tp]

    async def _transact(self, producer: AIOKafkaProducer, writes: Sequence[Write]) -> None:
        grouped = self._grouped(writes)
        for tp in grouped:
            await self._require(producer, tp)
        await producer.begin_transaction()
        self._stamped_at = max(time.time_ns() // 1_000_000, self._stamped_at + 1)
        rounds = {tp: _batches(producer, group, self._stamped_at) for tp, group in grouped.items()}
        while rounds:
            async with _delivered() as futures:
                for tp, batches in rounds.items():
                    futures.append(
                        await producer.send_batch(batches.pop(0), tp.topic, partition=tp.partition)
                    )
                self._passing(CrashPoint.BEGUN)
            self._watch_journal(futures)
            rounds = {tp: batches for tp, batches in rounds.items() if batches}
        self._passing(CrashPoint.ACKNOWLEDGED)
        await producer.commit_transaction()
        self._passing(CrashPoint.COMMITTED)

    def _watch_journal(self, delivered: Sequence[asyncio.Future[object]]) -> None:
        """Raise LogInterrupted if the journal's offsets went back: the topic was deleted and made anew.

        To commit there would bury what was lost: the next restore has to find it out.
        """
        name = self._settings.names[LogicalTopic.JOURNAL]
        for future in delivered:
            sent = future.result()
            if isinstance(sent, RecordMetadata) and sent.topic == name and sent.offset >= 0:
                if sent.offset < self._journal_end:
                    raise LogInterrupted(
                        f"commit of {self._id}: {name} was made anew: it had {self._journal_end} offsets, "
                        f"and now gives {sent.offset}"
                    )
                self._journal_end = sent.offset + 1

    def _grouped(self, writes: Sequence[Write]) -> dict[TopicPartition, list[Write]]:
        names, own = self._settings.names, self._partition
        grouped: dict[TopicPartition, list[Write]] = defaultdict(list)
        for write in writes:
            partition = own if write.partition is None else write.partition
            grouped[TopicPartition(names[write.topic], partition)].append(write)
        return grouped

    async def _require(self, producer: AIOKafkaProducer, tp: TopicPartition) -> None:
        """Raise WriteRefused unless the partition exists; aiokafka would ask for it without end."""
        known: set[int] = producer.client.cluster.partitions_for_topic(tp.topic) or set()
        if tp.partition in known:
            return
        client = producer.client
        client.add_topic(tp.topic)
        answered = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MISSING_TOPIC_MS / 1000):
                while not known and tp.topic not in client.cluster.unauthorized_topics:
                    answered = await client.force_metadata_update() or answered
                    known = client.cluster.partitions_for_topic(tp.topic) or set()
                    await asyncio.sleep(0 if known else _RETRY_S)
        if tp.partition in known:
            return
        doing = f"write of {self._id} to {tp.topic}/{tp.partition}"
        if tp.topic in client.cluster.unauthorized_topics:
            raise fault_of(kafka.TopicAuthorizationFailedError(tp.topic), doing=doing)
        if not known and not answered:
            # A broker that does not answer says nothing about topics: nobody is to blame for that.
            raise LogInterrupted(f"{doing}: no answer in time; restore and try again")
        raise fault_of(kafka.UnknownTopicOrPartitionError(), doing=doing)

    async def _blame_missing_topic(
        self, producer: AIOKafkaProducer, writes: Sequence[Write], error: BaseException
    ) -> None:
        """Raise WriteRefused if a time-out's cause is a topic that has gone meanwhile."""
        if not isinstance(error, TimeoutError):
            return
        try:
            async with asyncio.timeout(_MISSING_TOPIC_MS / 1000):
                await producer.client.force_metadata_update()
        except TimeoutError:
            return
        if producer.client.cluster.brokers():
            for tp in self._grouped(writes):
                await self._require(producer, tp)

    def _targets(self, writes: Sequence[Write]) -> str:
        return ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in self._grouped(writes)))


def _batches(producer: AIOKafkaProducer, writes: Sequence[Write], stamped_at: int) -> list[BatchBuilder]:
    batch = producer.create_batch()
    batches = [batch]
    for write in writes:
        headers = list(write.headers)
        if batch.append(timestamp=stamped_at, key=write.key, value=write.value, headers=headers) is None:
            batch = producer.create_batch()
            batches.append(batch)
            batch.append(timestamp=stamped_at, key=write.key, value=write.value, headers=headers)
    return batches


@asynccontextmanager
async def _delivered() -> AsyncIterator[list[asyncio.Future[object]]]:
    """Collect batches' futures and wait for each: aiokafka would commit although a batch has failed."""
    futures: list[asyncio.Future[object]] = []
    try:
        yield futures
        await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
        for future in futures:
            if future.done():
                future.result()
    finally:
        for future in futures:
            if not future.cancel() and not future.cancelled():
                future.exception()  # the first error is raised, the others are seen


def _journal_records(fetched: Fetched, mark: int) -> list[JournalRecord]:
    records = fetched.records
    if fetched.position > mark:
        records = [record for record in records if record.offset < mark]
    return [
        JournalRecord(
            record.key or b"",
            record.value,
            tuple(record.headers),  # type: ignore[arg-type]  # ours, so each has a value
        )
        for record in records
    ]


def _hangs(partitions: Collection[TopicPartition], transactional_id: str) -> str:
    where = ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in partitions))
    return (
        f"a transaction stands open in {where}, where only {transactional_id} writes, and it is not certain "
        "how it ended: the next commit would show its records. Find it with `kafka-transactions.sh "
        "find-hanging`, find out whether other partitions show it as committed, and abort it only if not; "
        "then this opens by itself"
    )


def _stalled(tp: TopicPartition, mark: int, position: int, fetched: Fetched) -> str:
    reason = f"; last error {fetched.error!r}" if fetched.error is not None else ""
    return (
        f"restore of {tp.topic}/{tp.partition} stands still at offset {position}: high watermark {mark}, "
        f"last stable offset {fetched.last_stable_offset}{reason}. A transaction that stands open hides "
        "the rest (`kafka-transactions.sh find-hanging` names it; find out whether it was committed before "
        "you abort it), or the broker is away"
    )
