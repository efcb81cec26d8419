"""Reads a stage's topics as a read_committed reader, again and again, and keeps all it has ever seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.structs import TopicPartition

from contracts.dead_letters import FORWARDED_FROM_HEADER
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.cluster import Fate, Stored, Transaction
from worker.kafka.reader import LATEST, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.kafka.batches import LogRecord
    from worker.kafka.connection import Connection

WRITTEN: Final = (
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
"""What the worker alone writes."""
_READ: Final = (LogicalTopic.REQUESTS, LogicalTopic.COMMANDS, *WRITTEN)
_BYTES: Final = 4 * 1024 * 1024
_LOOK_S: Final = 0.05


class Archive:
    """All committed records so far; it is asked for topics by their names without the stage's prefix."""

    def __init__(self, connection: Connection, *, prefix: str, partitions: int) -> None:
        self._reader = Reader(connection, role="archive")
        self._prefix = prefix
        self._records: dict[TopicPartition, list[Stored]] = {
            TopicPartition(topic_name(topic, prefix=prefix), partition): []
            for topic in _READ
            for partition in range(partitions)
        }
        self._positions: dict[TopicPartition, int] = dict.fromkeys(self._records, 0)

    async def close(self) -> None:
        """Let the connections go."""
        await self._reader.close()

    async def catch_up(self, *, within_s: float = 60) -> None:
        """Read on to the high watermarks of now, open transactions included. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            marks = await self._reader.offsets(self._positions.keys(), at=LATEST)
            while behind := {tp: at for tp, at in self._positions.items() if at < marks[tp]}:
                found = await self._reader.fetch_all(
                    behind, committed=True, wait_ms=100, partition_bytes=_BYTES
                )
                moved = False
                for tp, fetched in found.items():
                    moved = moved or fetched.position > self._positions[tp]
                    self._positions[tp] = fetched.position
                    self._records[tp] += [self._stored(record, tp) for record in fetched.records]
                if not moved:
                    await asyncio.sleep(_LOOK_S)

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

    def _stored(self, record: LogRecord, tp: TopicPartition) -> Stored:
        headers = tuple((name, value or b"") for name, value in record.headers)
        # Upstream forges no such header here: who bears it was forwarded, and that is done in transactions.
        forwarded = any(name == FORWARDED_FROM_HEADER for name, _ in headers)
        return Stored(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.offset,
            timestamp_at=record.timestamp,
            key=record.key,
            value=record.value,
            headers=headers,
            transaction=Transaction(number=0, fate=Fate.COMMITTED, decided=record.timestamp * 2)
            if forwarded
            else None,
            appended=record.timestamp * 2,
        )
