"""A simulated Kafka: partitions, transactions with fencing, committed reads, compaction, retention."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.ports import Headers

Place = tuple[str, int]
"""Topic and partition."""

RECORD_OVERHEAD = 70
"""Bytes that Kafka adds to a record in a batch of one, about."""
DAY_MS = 86_400_000


class ProducerFenced(Exception):
    """The producer's epoch is not the newest one of its transactional id."""


class ConcurrentTransactions(Exception):
    """The transaction before is still being completed: ask again soon."""


class TopicRefused(Exception):
    """The topic takes no write: not authorised, missing, or the record is too large (``of_input``)."""

    def __init__(self, text: str, *, of_input: bool = False) -> None:
        super().__init__(text)
        self.of_input = of_input


class Fate(Enum):
    """What has become of a transaction."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction of one producer."""

    number: int
    fate: Fate = Fate.OPEN
    decided: int = 0
    """The moment at which its fate was decided."""
    first: dict[Place, int] = field(default_factory=dict)
    """Its first offset in each partition whose marker is not written yet."""


@dataclass(slots=True)
class Producer:
    """A transactional producer as the coordinator knows it."""

    name: str
    epoch: int
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One record in a partition; a marker (control record) has no content, and no reader sees it."""

    topic: str
    partition: int
    offset: int
    timestamp_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction: Transaction | None
    marker: bool = False
    appended: int
    """The moment at which it was appended."""

    @property
    def size(self) -> int:
        """Bytes of the record, about as Kafka counts them."""
        return record_size(key=self.key, value=self.value, headers=self.headers)

    @property
    def moment(self) -> int:
        """The moment from which a read_committed reader may see it."""
        return self.appended if self.transaction is None else self.transaction.decided

    @property
    def transaction_number(self) -> int | None:
        """The number of the transaction that wrote it."""
        return None if self.transaction is None else self.transaction.number

    @property
    def committed(self) -> bool:
        """Whether a read_committed reader sees it once the last stable offset is past it."""
        return not self.marker and (self.transaction is None or self.transaction.fate is Fate.COMMITTED)


@dataclass(slots=True)
class _Partition:
    start: int = 0
    end: int = 0
    records: list[Stored] = field(default_factory=list)
    archive: list[Stored] = field(default_factory=list)
    watchers: list[Callable[[], None]] = field(default_factory=list)


def _first(records: list[Stored], offset: int) -> int:
    return bisect_left(records, offset, key=lambda record: record.offset)


def record_size(*, key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the bytes that a record takes, about."""
    return (
        RECORD_OVERHEAD
        + len(key or b"")
        + len(value or b"")
        + sum(len(name.encode()) + len(content) + 4 for name, content in headers)
    )


class SimCluster:
    """Topics in memory. Each method is one request that the broker serves at once.

    `now` gives broker time (ms since the Unix epoch), `moment` a number that grows with each step.
    `later(seconds, callback)` lets markers and time-outs come later; without it they come at once, and never.
    """

    def __init__(
        self,
        *,
        partitions: int,
        now: Callable[[], int],
        moment: Callable[[], int] = lambda: 0,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        marker_delay: Callable[[], float] = lambda: 0.0,
        transaction_timeout: float = 10.0,
        record_most: int = 1_048_576,
    ) -> None:
        self.partitions = partitions
        self.refused: set[str] = set()
        """Topics that take no transactional write now."""
        self.record_most = record_most
        self._now = now
        self._moment = moment
        self._later = later
        self._marker_delay = marker_delay
        self._transaction_timeout = transaction_timeout
        self._places: dict[Place, _Partition] = {}
        self._producers: dict[str, Producer] = {}
        self._transactions = 0
        self._group: dict[Place, int] = {}

    # --- producers ---------------------------------------------------------

    def append(
        self,
        topic: str,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        timestamp_at: int | None = None,
    ) -> int:
        """Append a record without a transaction, as upstream does, and return its offset."""
        return self._append(
            (topic, partition),
            key=key,
            value=value,
            headers=headers,
            transaction=None,
            timestamp_at=timestamp_at,
        ).offset

    def init_producer(self, name: str) -> int:
        """Fence earlier producers of this id, abort their open transaction, return the new epoch."""
        producer = self._producers.setdefault(name, Producer(name, epoch=-1))
        transaction = producer.transaction
        if transaction is not None and transaction.fate is Fate.OPEN:
            producer.epoch += 1
            self._decide(producer, transaction, Fate.ABORTED)
        if producer.transaction is not None:
            raise ConcurrentTransactions(f"{name}: the transaction before is being completed")
        producer.epoch += 1
        return producer.epoch

    def produce(
        self,
        name: str,
        epoch: int,
        topic: str,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> int:
        """Append a record to the producer's transaction, begun if there is none; return its offset."""
        producer = self._checked(name, epoch)
        if producer.transaction is not None and producer.transaction.fate is not Fate.OPEN:
            raise ConcurrentTransactions(f"{name}: the transaction before is being completed")
        size = record_size(key=key, value=value, headers=headers)
        if topic in self.refused:
            raise TopicRefused(f"{topic}: not authorized to write")
        if size > self.record_most:
            raise TopicRefused(
                f"{topic}: a record of {size} bytes is larger than {self.record_most}", of_input=True
            )
        if producer.transaction is None:
            self._transactions += 1
            producer.transaction = Transaction(self._transactions)
            self._expire_later(producer, producer.transaction)
        place = (topic, partition)
        stored = self._append(
            place, key=key, value=value, headers=headers, transaction=producer.transaction, timestamp_at=None
        )
        producer.transaction.first.setdefault(place, stored.offset)
        return stored.offset

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """Decide the producer's transaction; its markers reach the partitions one by one, later."""
        producer = self._checked(name, epoch)
        if producer.transaction is None:
            return
        if producer.transaction.fate is not Fate.OPEN:
            raise ConcurrentTransactions(f"{name}: the transaction before is being completed")
        self._decide(producer, producer.transaction, Fate.COMMITTED if commit else Fate.ABORTED)

    # --- readers -----------------------------------------------------------

    def start(self, topic: str, partition: int) -> int:
        """Return the first offset that still exists."""
        return self._place((topic, partition)).start

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset after the last record, committed or not."""
        return self._place((topic, partition)).end

    def end_of_records(self, topic: str, partition: int) -> int:
        """Return the offset after the last committed record that still exists: no marker stands there."""
        records = self._place((topic, partition)).records
        return next((record.offset + 1 for record in reversed(records) if record.committed), 0)

    def last_stable(self, topic: str, partition: int) -> int:
        """Return the offset up to which all fates are written: where read_committed stops."""
        place = (topic, partition)
        opened = [
            transaction.first[place]
            for transaction in self._open_transactions()
            if place in transaction.first
        ]
        return min(opened, default=self._place(place).end)

    def read(
        self, topic: str, partition: int, offset: int, *, most: int, before: int | None = None
    ) -> tuple[list[Stored], int]:
        """Return at most `most` committed records from `offset` on, and the offset to go on from.

        Stops at the last stable offset, and at `before`. Aborted records and markers are passed over.
        """
        part = self._place((topic, partition))
        stable = self.last_stable(topic, partition)
        limit = stable if before is None else min(stable, before)
        found: list[Stored] = []
        for record in part.records[_first(part.records, offset) :]:
            if record.offset >= limit:
                break
            if record.committed:
                if len(found) == most:
                    return found, record.offset
                found.append(record)
        return found, max(offset, limit)

    def stored(self, topic: str, partition: int, offset: int) -> Stored | None:
        """Return the record at an offset, whatever became of its transaction; `None` if there is none."""
        records = self._place((topic, partition)).records
        index = _first(records, offset)
        found = records[index] if index < len(records) else None
        return None if found is None or found.marker or found.offset != offset else found

    def committed(self, topic: str, partition: int) -> list[Stored]:
        """Return all that a read_committed reader sees now, from the start."""
        return self.read(topic, partition, self.start(topic, partition), most=1 << 60)[0]

    def archive(self, topic: str, partition: int) -> list[Stored]:
        """Return each committed record that was ever written, compacted away or not."""
        return [record for record in self._place((topic, partition)).archive if record.committed]

    def written(self) -> Iterator[Stored]:
        """Return each record that was ever written, aborted ones too."""
        for place in sorted(self._places):
            yield from (record for record in self._places[place].archive if not record.marker)

    def watch(self, topic: str, partition: int, wake: Callable[[], None]) -> None:
        """Call `wake` each time a reader of the partition may see more."""
        self._place((topic, partition)).watchers.append(wake)

    def unwatch(self, topic: str, partition: int, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._place((topic, partition)).watchers.remove(wake)

    # --- the group ---------------------------------------------------------

    def group_committed(self, topic: str, partition: int) -> int | None:
        """Return the group's committed offset, `None` without one."""
        return self._group.get((topic, partition))

    def commit_group(self, topic: str, partition: int, offset: int) -> None:
        """Commit an offset for the group."""
        self._group[topic, partition] = offset

    # --- what the broker does by itself ------------------------------------

    def compact(
        self, topic: str, partition: int, *, before: int | None = None, keep_ms: int = DAY_MS
    ) -> None:
        """Keep the newest committed record of each key below `before` and the last stable offset.

        Aborted records, records without a key, and markers below it go; a tombstone goes once it is older
        than `keep_ms`. Offsets stay as they are.
        """
        part = self._place((topic, partition))
        stable = self.last_stable(topic, partition)
        limit = stable if before is None else min(stable, before)
        newest = {
            record.key: record.offset for record in part.records if record.offset < limit and record.committed
        }
        oldest_at = self._now() - keep_ms
        part.records = [
            record
            for record in part.records
            if record.offset >= limit
            or (
                record.committed
                and record.key is not None
                and newest[record.key] == record.offset
                and (record.value is not None or record.timestamp_at > oldest_at)
            )
        ]

    def retain(self, topic: str, partition: int, *, start: int) -> None:
        """Delete all records before `start`, as retention does."""
        part = self._place((topic, partition))
        part.start = max(part.start, min(start, part.end))
        part.records = part.records[_first(part.records, part.start) :]

    # --- inside ------------------------------------------------------------

    def _place(self, place: Place) -> _Partition:
        part = self._places.get(place)
        if part is None:
            part = self._places[place] = _Partition()
        return part

    def _append(
        self,
        place: Place,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        transaction: Transaction | None,
        timestamp_at: int | None,
        marker: bool = False,
    ) -> Stored:
        part = self._place(place)
        stored = Stored(
            topic=place[0],
            partition=place[1],
            offset=part.end,
            timestamp_at=self._now() if timestamp_at is None else timestamp_at,
            key=key,
            value=value,
            headers=tuple(headers),
            transaction=transaction,
            marker=marker,
            appended=self._moment(),
        )
        part.end += 1
        part.records.append(stored)
        part.archive.append(stored)
        for wake in list(part.watchers):
            wake()
        return stored

    def _checked(self, name: str, epoch: int) -> Producer:
        producer = self._producers.get(name)
        if producer is None or producer.epoch != epoch:
            raise ProducerFenced(f"{name}: epoch {epoch} is not the newest one")
        return producer

    def _open_transactions(self) -> Iterator[Transaction]:
        for producer in self._producers.values():
            if producer.transaction is not None:
                yield producer.transaction

    def _decide(self, producer: Producer, transaction: Transaction, fate: Fate) -> None:
        transaction.fate = fate
        transaction.decided = self._moment()
        for place in list(transaction.first):
            self._soon(self._marker_delay(), lambda place=place: self._mark(producer, transaction, place))  # type: ignore[misc]  # mypy can't infer a lambda with a default
        if not transaction.first:
            producer.transaction = None

    def _mark(self, producer: Producer, transaction: Transaction, place: Place) -> None:
        del transaction.first[place]
        if not transaction.first:
            producer.transaction = None
        self._append(
            place,
            key=None,
            value=None,
            headers=(),
            transaction=transaction,
            timestamp_at=None,
            marker=True,
        )

    def _soon(self, delay: float, callback: Callable[[], None]) -> None:
        if self._later is None or delay == 0:
            callback()
        else:
            self._later(delay, callback)

    def _expire_later(self, producer: Producer, transaction: Transaction) -> None:
        def expire() -> None:
            if transaction.fate is Fate.OPEN:
                producer.epoch += 1
                self._decide(producer, transaction, Fate.ABORTED)

        if self._later is not None:
            self._later(self._transaction_timeout, expire)
