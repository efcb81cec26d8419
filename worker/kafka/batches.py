"""Record batches as they lie in Kafka's log, read tolerantly.

aiokafka's own reader gives up a whole batch when one header key in it is not UTF-8. Here such a batch is
read again, slowly, and the key comes with replacement characters.
Format: Apache Kafka, "Message Format", record batch version 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.record._protocols import DefaultRecordBatchProtocol
from aiokafka.record._protocols import DefaultRecordProtocol as LogRecord
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint as read_varint
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CorruptBatch", "Head", "LogRecord", "read_batches", "read_heads"]

_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT: Final = 8
_OVERHEAD: Final = 12
_HEAD: Final = 61
"""Bytes of a batch before its records. aiokafka reads on beyond a shorter one: that ends the process."""
_MAGIC_AT: Final = 16
_MAGIC: Final = 2
_CONTROL_KEY: Final = struct.Struct(">hh")
_ABORT: Final = 0
_LOG_APPEND_TIME: Final = 1
_NULL: Final = -1


class CorruptBatch(Exception):
    """A batch that cannot be read: broken on its way or on disk, or older than Kafka 0.11."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands at the head of a batch: who wrote it, and in what kind of transaction."""

    base_offset: int
    next_offset: int
    producer_id: int
    producer_epoch: int
    transactional: bool
    stamp: int | None
    """The timestamp of all its records; ``None`` where they differ, or where the broker made it."""
    aborts: bool | None
    """Of a marker: whether it aborts; ``None`` for records."""


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # @final is advice; only one method differs
    """A batch read in Python, header keys with replacement characters."""

    @override
    def _read_msg(self, decode_varint: object = None) -> _DefaultRecordPy:
        data, at = self._buffer, self._pos
        length, at = read_varint(data, at)
        end = at + length
        _, at = read_varint(data, at)
        delta, at = read_varint(data, at)
        fixed = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if fixed else self.first_timestamp + delta
        delta, at = read_varint(data, at)
        offset = self.base_offset + delta
        key, at = _nullable(data, at)
        value, at = _nullable(data, at)
        count, at = read_varint(data, at)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, at = _nullable(data, at)
            text, at = _nullable(data, at)
            headers.append(((name or b"").decode(errors="replace"), text))
        if at != end or count < 0:
            raise ValueError("a record is not as long as it says")
        self._pos = at
        return _DefaultRecordPy(offset, timestamp, self.timestamp_type, key, value, headers)


def _nullable(data: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = read_varint(data, at)
    if length == _NULL:
        return None, at
    if not 0 <= length <= len(data) - at:
        raise ValueError("a record goes on beyond its batch")
    return bytes(data[at : at + length]), at + length


def read_batches(
    data: bytes, *, position: int, aborted: Sequence[tuple[int, int]] | None
) -> tuple[list[LogRecord], int]:
    """Return the records of a fetch's answer from ``position`` on, and the offset after the last batch.

    ``aborted`` lists (producer id, first offset) of aborted transactions as the broker gave it: their records
    are left out; ``None`` reads everything. Markers and emptied batches move the offset too.
    Raises CorruptBatch if the first batch cannot be read; what lies before a later one is given.
    """
    found: list[LogRecord] = []
    pending = sorted(aborted or (), key=lambda entry: entry[1], reverse=True)
    dropping: set[int] = set()
    after = position
    try:
        for raw in _split(data):
            batch = _sound(raw)
            while pending and pending[-1][1] <= batch.base_offset:
                dropping.add(pending.pop()[0])
            if batch.is_control_batch:
                if _aborts(batch):
                    dropping.discard(batch.producer_id)
            elif not (batch.is_transactional and batch.producer_id in dropping):
                _take(raw, batch, position=position, into=found)
            after = max(after, batch.next_offset)
    except CorruptBatch:
        if after == position:
            raise
    return found, after


def read_heads(data: bytes, *, position: int) -> tuple[list[Head], int]:
    """Return the heads of all batches of a fetch's answer, and the offset after the last one.

    Raises CorruptBatch if the first batch cannot be read; what lies before a later one is given.
    """
    heads: list[Head] = []
    after = position
    try:
        for raw in _split(data):
            batch = _sound(raw)
            own = batch.timestamp_type != _LOG_APPEND_TIME
            one = own and batch.first_timestamp == batch.max_timestamp
            heads.append(
                Head(
                    base_offset=batch.base_offset,
                    next_offset=batch.next_offset,
                    producer_id=batch.producer_id,
                    producer_epoch=batch.producer_epoch,
                    transactional=batch.is_transactional,
                    stamp=batch.max_timestamp if one else None,
                    aborts=_aborts(batch) if batch.is_control_batch else None,
                )
            )
            after = max(after, batch.next_offset)
    except CorruptBatch:
        if after == position:
            raise
    return heads, after


def _split(data: bytes) -> Iterator[bytes]:
    at, end = 0, len(data)
    while at + _OVERHEAD <= end:
        (length,) = _LENGTH.unpack_from(data, at + _LENGTH_AT)
        stop = at + _OVERHEAD + length
        if stop - at < _HEAD:
            raise CorruptBatch(f"a batch of {length} bytes at byte {at} of an answer: too short to be one")
        if stop > end:
            return  # the broker cut the answer at its size limit: the rest comes with the next fetch
        if data[at + _MAGIC_AT] != _MAGIC:
            raise CorruptBatch(f"record format {data[at + _MAGIC_AT]} is not read, only {_MAGIC}")
        yield data[at:stop]
        at = stop


def _sound(raw: bytes) -> DefaultRecordBatchProtocol:
    batch: DefaultRecordBatchProtocol = DefaultRecordBatch(raw)
    if not batch.validate_crc():
        raise CorruptBatch(f"checksum is wrong in the batch at offset {batch.base_offset}")
    return batch


def _aborts(batch: DefaultRecordBatchProtocol) -> bool:
    try:
        (marker,) = batch
        return marker.key is not None and _CONTROL_KEY.unpack_from(marker.key)[1] == _ABORT
    except Exception as error:
        raise _unreadable(batch, error) from error


def _take(raw: bytes, batch: DefaultRecordBatchProtocol, *, position: int, into: list[LogRecord]) -> None:
    try:
        try:
            records = list(batch)
        except UnicodeDecodeError:
            records = list(_TolerantBatch(raw))
    except Exception as error:
        # Five decompressors raise what they like, and their texts could quote what they read.
        raise _unreadable(batch, error) from error
    after = batch.next_offset
    if any(not batch.base_offset <= record.offset < after for record in records):
        raise CorruptBatch(f"the batch at offset {batch.base_offset} holds records of other offsets")
    if batch.base_offset < position:
        # A batch is given whole: what lies before the wanted offset was read earlier.
        records = [record for record in records if record.offset >= position]
    into.extend(records)


def _unreadable(batch: DefaultRecordBatchProtocol, error: Exception) -> CorruptBatch:
    return CorruptBatch(f"the batch at offset {batch.base_offset} cannot be read ({type(error).__name__})")
