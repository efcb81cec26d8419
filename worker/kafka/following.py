"""Following a topic as a reader without a group: `watch`, `explain`, `letters`, the checker.

It never commits and joins no group. It is not a FastStream subscriber, which drops a whole batch when one
header in it is not UTF-8, and cannot tell when it has reached the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from aiokafka.structs import TopicPartition

from worker.kafka.faults import read_fault_of
from worker.kafka.reader import EARLIEST, LATEST
from worker.ports import LogInterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from worker.kafka.batches import LogRecord
    from worker.kafka.reader import Reader
    from worker.ports import Headers

_WAIT_MS: Final = 250
_FETCH_BYTES: Final = 1024 * 1024


class Start(Enum):
    """Where following begins."""

    BEGINNING = EARLIEST
    END = LATEST


class Stop(Enum):
    """When following ends."""

    AT_END = "at_end"
    """At the high watermarks of the beginning; a transaction that is open there is waited for."""
    NEVER = "never"
    """When the caller stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One record as a reader sees it; ``value`` is ``None`` for a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers


async def offsets_at(reader: Reader, topic: str, count: int, *, at: int) -> list[int]:
    """Return the first offset of each of so many partitions at a time (ms since the epoch) or later.

    -1 where there is none. ``at`` is a ``Start``'s value for the log's first offset and its high watermark.
    """
    found = await reader.offsets([TopicPartition(topic, number) for number in range(count)], at=at)
    return [found[TopicPartition(topic, number)] for number in range(count)]


async def read_on(
    reader: Reader, topic: str, partition: int, *, start: int, end: int
) -> AsyncIterator[list[Seen]]:
    """Give the committed records of one partition from ``start`` up to ``end``; empty lists between.

    A transaction that is open below ``end`` is waited for. Where ``start`` is gone by then, reading begins
    with the log. Raises LogInterrupted if the partition cannot be read.
    """
    tp = TopicPartition(topic, partition)
    first = (await reader.offsets([tp], at=EARLIEST))[tp]
    positions = {tp: max(start, first)}
    while positions[tp] < end:
        seen, positions = await _turn(reader, positions)
        yield [entry for entry in seen if entry.offset < end]


async def follow(
    reader: Reader, topic: str, *, start: Start = Start.END, stop: Stop = Stop.NEVER
) -> AsyncIterator[list[Seen]]:
    """Give committed records of all partitions, in order within each, as they come; empty lists between.

    An empty list says that nothing is new for the moment, so that a caller can look at a clock.
    Raises LogInterrupted if the topic is missing or cannot be read.
    """
    count = await reader.partition_count(topic)
    if count == 0:
        raise LogInterrupted(f"follow {topic}: there is no such topic; run `unbinding topics check`")
    partitions = [TopicPartition(topic, number) for number in range(count)]
    marks = await reader.offsets(partitions, at=LATEST)
    positions = dict(marks) if start is Start.END else await reader.offsets(partitions, at=EARLIEST)
    while True:
        if stop is Stop.AT_END:
            positions = {tp: at for tp, at in positions.items() if at < marks[tp]}
            if not positions:
                return
        seen, positions = await _turn(reader, positions)
        if stop is Stop.AT_END:
            seen = [entry for entry in seen if entry.offset < marks[TopicPartition(topic, entry.partition)]]
        yield seen


async def _turn(
    reader: Reader, positions: Mapping[TopicPartition, int]
) -> tuple[list[Seen], dict[TopicPartition, int]]:
    found = await reader.fetch_all(positions, committed=True, wait_ms=_WAIT_MS, partition_bytes=_FETCH_BYTES)
    seen: list[Seen] = []
    after = dict(positions)
    for tp, fetched in found.items():
        if fetched.error is not None:
            raise read_fault_of(fetched.error, doing=f"follow {tp.topic}/{tp.partition}") from fetched.error
        after[tp] = fetched.position
        seen += [_seen(record, tp) for record in fetched.records]
    return seen, after


def _seen(record: LogRecord, tp: TopicPartition) -> Seen:
    return Seen(
        topic=tp.topic,
        partition=tp.partition,
        offset=record.offset,
        timestamp_at=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
    )
