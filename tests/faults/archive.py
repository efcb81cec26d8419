"""Reads a stage's topics as a read_committed reader, again and again, and keeps all it has ever seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.structs import TopicPartition

from contracts.dead_letters import BROADCAST_FROM_HEADER, FORWARDED_FROM_HEADER
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.cluster import Fate, Stored, Transaction
from worker.kafka.reader import LATEST, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.kafka.batches import LogRecord
    from worker.kafka.connection import Connection

WRITTEN: Final = (
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
"""What the worker alone writes."""
_READ: Final = (LogicalTopic.REQUESTS, LogicalTopic.NOTICES, LogicalTopic.COMMANDS, *WRITTEN)
_PASSED_ON: Final = frozenset({FORWARDED_FROM_HEADER, BROADCAST_FROM_HEADER})
_BYTES: Final = 4 * 1024 * 1024
_LOOK_S: Final = 0.05


class Archive:
    """All committed records so far; it is asked for topics by their names without the stage's prefix."""

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str,
        partitions: int,
        take: Callable[[LogicalTopic, Stored], bool] = lambda _topic, _stored: True,
    ) -> None:
        """Show each record to `take`, which says whether to keep it."""
        self._reader = Reader(connection, role="archive")
        self._prefix = prefix
        self._take = take
        self._reading = asyncio.Lock()
        self._topics = {
            TopicPartition(topic_name(topic, prefix=prefix), partition): topic
            for topic in _READ
            for partition in range(partitions)
        }
        self._records: dict[TopicPartition, list[Stored]] = {tp: [] for tp in self._topics}
        self.positions: dict[TopicPartition, int] = dict.fromkeys(self._topics, 0)
        """Up to where each partition has been read."""

    async def close(self) -> None:
        """Let the connections go."""
        await self._reader.close()

    async def catch_up(self, *, within_s: float = 60) -> None:
        """Read on to the high watermarks of now, open transactions included. Raises TimeoutError."""
        async with asyncio.timeout(within_s), self._reading:
            marks = await self._reader.offsets(self.positions.keys(), at=LATEST)
            while behind := {tp: at for tp, at in self.positions.items() if at < marks[tp]}:
                found = await self._reader.fetch_all(
                    behind, committed=True, wait_ms=100, partition_bytes=_BYTES
                )
                moved = False
                for tp, fetched in found.items():
                    moved = moved or fetched.position > self.positions[tp]
                    self.positions[tp] = fetched.position
                    for record in fetched.records:
                        stored = self._stored(record, tp)
                        if self._take(self._topics[tp], stored):
                            self._records[tp].append(stored)
                if not moved:
                    await asyncio.sleep(_LOOK_S)

    def forget(self, past: Callable[[LogicalTopic, Stored], bool]) -> None:
        """Let go of the records that are past."""
        for tp, records in self._records.items():
            topic = self._topics[tp]
            self._records[tp] = [stored for stored in records if not past(topic, stored)]

    def kept(self) -> Iterator[tuple[LogicalTopic, Stored]]:
        """Yield all records that are kept."""
        for tp, records in self._records.items():
            topic = self._topics[tp]
            for stored in records:
                yield topic, stored

    def ends(self) -> Iterator[tuple[LogicalTopic, int]]:
        """Yield, for each partition, its topic and the offset up to which it was read."""
        for tp, position in self.positions.items():
            yield self._topics[tp], position

    def archive(self, topic: str, partition: int) -> list[Stored]:
        """Return the records of a partition, in order."""
        return self._records[TopicPartition(self._prefix + topic, partition)]

    def written(self) -> Iterator[Stored]:
        """Yield each record that the worker wrote itself."""
        for topic in WRITTEN:
            name = topic_name(topic, prefix=self._prefix)
            for tp, records in self._records.items():
                if tp.topic == name:
                    yield from records
        for topic, stored in self.kept():
            # Others write there, too; what the worker passed on is its own.
            if topic is LogicalTopic.NOTICES and stored.transaction is not None:
                yield stored

    def _stored(self, record: LogRecord, tp: TopicPartition) -> Stored:
        headers = tuple((name, value or b"") for name, value in record.headers)
        # Upstream forges no such header here: who bears it was passed on, and that is done in transactions.
        passed_on = any(name in _PASSED_ON for name, _ in headers)
        return Stored(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.offset,
            timestamp_at=record.timestamp,
            key=record.key,
            value=record.value,
            headers=headers,
            transaction=Transaction(number=0, fate=Fate.COMMITTED, decided=record.timestamp * 2)
            if passed_on
            else None,
            appended=record.timestamp * 2,
        )
