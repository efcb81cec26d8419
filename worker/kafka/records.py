"""Kafka's records as the shard takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import Record

if TYPE_CHECKING:
    from aiokafka.structs import TopicPartition

    from worker.kafka.batches import LogRecord
    from worker.ports import Input


def to_record(record: LogRecord, *, source: Input, tp: TopicPartition) -> Record:
    """Return the record with its origin; a header without a value has an empty one."""
    return Record(
        input=source,
        topic=tp.topic,
        partition=tp.partition,
        offset=record.offset,
        timestamp_at=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
    )
