"""Following a topic as a reader without a group: `watch`, `explain`, `letters`, the checker.

It never commits and joins no group. It is not a FastStream subscriber, which drops a whole batch when one
header in it is not UTF-8, and cannot tell when it has reached the end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from worker.kafka.faults import HOPELESS, read_fault_of
from worker.kafka.reader import EARLIEST, LATEST
from worker.ports import LogInterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from worker.kafka.batches import LogRecord
    from worker.kafka.reader import Reader
    from worker.ports import Headers

_WAIT_MS: Final = 250
_FETCH_BYTES: Final = 1024 * 1024
_RETRY_S: Final = 0.05
_PATIENCE_S: Final = 30
"""How long errors that pass may follow one another in a partition, without any success between."""
_SPAN_PATIENCE_S: Final = 100
"""The same for a stretch: less than `verify` waits, so that the error is told in its own words."""
_LASTING: Final = (*HOPELESS, OffsetOutOfRangeError)
"""What does not pass by asking again."""


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
    reader: Reader,
    topic: str,
    partition: int,
    *,
    start: int,
    end: int,
    now: Callable[[], float] = monotonic,
) -> AsyncIterator[list[Seen]]:
    """Give the committed records of one partition from ``start`` up to ``end``; empty lists between.

    A transaction that is open below ``end`` is waited for, and so is what passes. Raises LogInterrupted if
    the partition cannot be read, and if ``start`` is not in the log any more: the caller would take what is
    left for the whole.
    """
    tp = TopicPartition(topic, partition)
    first = (await reader.offsets([tp], at=EARLIEST))[tp]
    if start < min(first, end):
        raise LogInterrupted(
            f"read {topic}/{partition}: offsets {start} to {min(first, end) - 1} are not in the log any "
            "more; they were deleted just now: read again"
        )
    turns = _Turns(reader, patience_s=_SPAN_PATIENCE_S, now=now)
    positions = {tp: start}
    while positions[tp] < end:
        seen, positions = await turns.turn(positions)
        yield [entry for entry in seen if entry.offset < end]


async def follow(
    reader: Reader,
    topic: str,
    *,
    start: Start = Start.END,
    stop: Stop = Stop.NEVER,
    now: Callable[[], float] = monotonic,
) -> AsyncIterator[list[Seen]]:
    """Give committed records of all partitions, in order within each, as they come; empty lists between.

    An empty list says that nothing is new for the moment, so that a caller can look at a clock.
    Raises LogInterrupted if the topic is missing or cannot be read, at once or for half a minute.
    """
    count = await reader.partition_count(topic)
    if count == 0:
        raise LogInterrupted(f"follow {topic}: there is no such topic; run `unbinding topics check`")
    partitions = [TopicPartition(topic, number) for number in range(count)]
    marks = await reader.offsets(partitions, at=LATEST)
    positions = dict(marks) if start is Start.END else await reader.offsets(partitions, at=EARLIEST)
    turns = _Turns(reader, patience_s=_PATIENCE_S, now=now)
    while True:
        if stop is Stop.AT_END:
            positions = {tp: at for tp, at in positions.items() if at < marks[tp]}
            if not positions:
                return
        seen, positions = await turns.turn(positions)
        if stop is Stop.AT_END:
            seen = [entry for entry in seen if entry.offset < marks[TopicPartition(topic, entry.partition)]]
        yield seen


class _Turns:
    """Fetches turn by turn, and bears errors that pass for so long in each partition."""

    def __init__(self, reader: Reader, *, patience_s: float, now: Callable[[], float]) -> None:
        self._reader = reader
        self._patience_s = patience_s
        self._now = now
        self._troubled_since: dict[TopicPartition, float] = {}

    async def turn(
        self, positions: Mapping[TopicPartition, int]
    ) -> tuple[list[Seen], dict[TopicPartition, int]]:
        """Return what came, and where to go on: where it goes wrong, from the same place."""
        found = await self._reader.fetch_all(
            positions, committed=True, wait_ms=_WAIT_MS, partition_bytes=_FETCH_BYTES
        )
        seen: list[Seen] = []
        after = dict(positions)
        for tp, fetched in found.items():
            if fetched.error is not None:
                self._bear(tp, fetched.error)
                continue
            self._troubled_since.pop(tp, None)
            after[tp] = fetched.position
            seen += [_seen(record, tp) for record in fetched.records]
        if self._troubled_since and not seen:
            await asyncio.sleep(_RETRY_S)
        return seen, after

    def _bear(self, tp: TopicPartition, error: Exception) -> None:
        since = self._troubled_since.setdefault(tp, self._now())
        if isinstance(error, _LASTING) or self._now() - since >= self._patience_s:
            raise read_fault_of(error, doing=f"follow {tp.topic}/{tp.partition}") from error


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
