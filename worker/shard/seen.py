"""Remembers finished requests and dead targets: 20 bytes each, in packed blocks, oldest dropped first."""

from __future__ import annotations

import struct
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIGEST_BYTES = 16
ENTRY_BYTES = 20
"""A digest, and a moment in seconds since the Unix epoch (unsigned, big-endian)."""
HOUR_MS = 3_600_000
_BUCKETS = 4_096
_SECOND_MS = 1_000
_MOMENT = struct.Struct(">I")


@dataclass(frozen=True, slots=True, order=True)
class BlockKey:
    """A block's name in the journal: the hour it was written in, and its number within it."""

    hour: int
    number: int

    def text(self) -> str:
        """Return the journal's key."""
        return f"seen:{self.hour}:{self.number}"


@dataclass(slots=True)
class _Hour:
    """The blocks of one hour, and how many of each bucket's entries are theirs."""

    hour: int
    blocks: list[BlockKey] = field(default_factory=list)
    counts: array[int] = field(default_factory=lambda: array("I", bytes(4 * _BUCKETS)))


class Seen:
    """The blocks of one shard, searchable by digest.

    Entries lie in 4,096 buckets by the head of their digest: bytes and not objects, so that an entry costs
    about its 20 bytes. A search is one scan of one bucket in C. Blocks come in the order of their hours, so
    that the oldest hour is the head of each bucket: forgetting cuts it off, and exactly what the journal's
    remaining blocks hold stays.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._hours: deque[_Hour] = deque()
        self._count = 0
        self._next = BlockKey(0, 0)

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._count * ENTRY_BYTES

    def oldest_hour(self) -> int | None:
        """Return the hour of the oldest block: the horizon of what is remembered."""
        return self._hours[0].hour if self._hours else None

    def next_key(self, *, now_at: int) -> BlockKey:
        """Return a name that no block has had; hours never go back, even if the clock does."""
        hour = max(now_at // HOUR_MS, self._next.hour)
        number = self._next.number if hour == self._next.hour else 0
        return BlockKey(hour, number)

    def add(self, key: BlockKey, block: bytes) -> None:
        """Take in a block; blocks come in the order of their keys, or are sorted by ``load``."""
        if not self._hours or self._hours[-1].hour != key.hour:
            self._hours.append(_Hour(key.hour))
        hour = self._hours[-1]
        hour.blocks.append(key)
        self._next = max(self._next, BlockKey(key.hour, key.number + 1))
        for at in range(0, len(block), ENTRY_BYTES):
            entry = block[at : at + ENTRY_BYTES]
            index = _bucket(entry)
            bucket = self._buckets[index]
            hour.counts[index] += 1
            if bucket is None:
                self._buckets[index] = bytearray(entry)
            else:
                bucket += entry
        self._count += len(block) // ENTRY_BYTES

    def load(self, blocks: Iterable[tuple[BlockKey, bytes]]) -> None:
        """Take in the blocks of a journal, in any order."""
        for key, block in sorted(blocks, key=lambda pair: pair[0]):
            self.add(key, block)

    def moment(self, digest: bytes) -> int | None:
        """Return when this digest was remembered (ms since the Unix epoch, whole seconds), or ``None``.

        Of several the latest counts.
        """
        bucket = self._buckets[_bucket(digest)]
        if bucket is None:
            return None
        latest: int | None = None
        at = bucket.find(digest)
        while at >= 0:
            if at % ENTRY_BYTES == 0:
                moment = _MOMENT.unpack_from(bucket, at + DIGEST_BYTES)[0] * _SECOND_MS
                latest = moment if latest is None else max(latest, moment)
            at = bucket.find(digest, at + 1)
        return latest

    def outdated(self, *, horizon_at: int, most_bytes: int) -> list[BlockKey]:
        """Name the blocks to forget: those of the oldest hour if it is too old or the bytes are too many."""
        hour = self.oldest_hour()
        if hour is None or ((hour + 1) * HOUR_MS > horizon_at and self.size <= most_bytes):
            return []
        return list(self._hours[0].blocks)

    def forget(self, hour: int) -> None:
        """Drop the blocks up to this hour, and what they remembered."""
        while self._hours and self._hours[0].hour <= hour:
            for index, count in enumerate(self._hours.popleft().counts):
                bucket = self._buckets[index]
                if count and bucket is not None:
                    del bucket[: count * ENTRY_BYTES]
                    self._count -= count


def pack(entries: Iterable[tuple[bytes, int]]) -> bytes:
    """Return a block of (digest, moment in ms since the Unix epoch)."""
    return b"".join(digest + _MOMENT.pack(max(0, at // _SECOND_MS) & 0xFFFFFFFF) for digest, at in entries)


def unpack(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield (digest, moment in ms since the Unix epoch) of a block."""
    for at in range(0, len(block), ENTRY_BYTES):
        yield block[at : at + DIGEST_BYTES], _MOMENT.unpack_from(block, at + DIGEST_BYTES)[0] * _SECOND_MS


def _bucket(entry: bytes) -> int:
    return (entry[0] << 4) | (entry[1] >> 4)
