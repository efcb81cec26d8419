"""What a soak leaves for those who look into a failure: all topics, as JSON lines."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Final

import orjson
from aiokafka.structs import TopicPartition

from contracts.topics import LogicalTopic, topic_name
from tests.faults.stage import PARTITIONS
from worker.kafka.reader import EARLIEST, LATEST, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.stage import Stage
    from worker.kafka.batches import LogRecord

_BYTES: Final = 4 * 1024 * 1024
_WITHIN_S: Final = 300.0


async def dump_topics(stage: Stage, directory: Path) -> None:
    """Write each topic's committed records into a file of its own; values that are no text as base64.

    The directory must be there.
    """
    reader = Reader(stage.connection, role="dump")
    try:
        async with asyncio.timeout(_WITHIN_S):
            for topic in LogicalTopic:
                with (directory / f"{topic}.jsonl").open("wb") as file:
                    partitions = 1 if topic is LogicalTopic.HOLDS else PARTITIONS
                    for partition in range(partitions):
                        tp = TopicPartition(topic_name(topic, prefix=stage.prefix), partition)
                        async for record in _records(reader, tp):
                            file.write(orjson.dumps(_plain(record, partition)) + b"\n")
    finally:
        await reader.close()


async def ends(stage: Stage, *topics: LogicalTopic) -> dict[TopicPartition, int]:
    """Return the high watermarks of topics."""
    reader = Reader(stage.connection, role="ends")
    try:
        wanted = {
            TopicPartition(topic_name(topic, prefix=stage.prefix), partition)
            for topic in topics
            for partition in range(PARTITIONS)
        }
        return await reader.offsets(wanted, at=LATEST)
    finally:
        await reader.close()


async def _records(reader: Reader, tp: TopicPartition) -> AsyncIterator[LogRecord]:
    position = (await reader.offsets([tp], at=EARLIEST))[tp]
    end = (await reader.offsets([tp], at=LATEST))[tp]
    while position < end:
        fetched = await reader.fetch(tp, position, committed=True, wait_ms=100, partition_bytes=_BYTES)
        for record in fetched.records:
            yield record
        position = fetched.position


def _plain(record: LogRecord, partition: int) -> dict[str, object]:
    return {
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()
