"""Remembers finished requests and dead targets: 20 bytes each, in packed blocks, oldest dropped first."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
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


class Seen:
    """The blocks of one shard, searchable by digest.

    Entries lie in 4,096 buckets by the head of their digest: bytes and not objects, so that an entry costs
    about its 20 bytes. A search is one scan of one bucket in C.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._blocks: deque[BlockKey] = deque()
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
        return self._blocks[0].hour if self._blocks else None

    def next_key(self, *, now_at: int) -> BlockKey:
        """Return a name that no block has had; hours never go back, even if the clock does."""
        hour = max(now_at // HOUR_MS, self._next.hour)
        number = self._next.number if hour == self._next.hour else 0
        return BlockKey(hour, number)

    def add(self, key: BlockKey, block: bytes) -> None:
        """Take in a block; blocks come in the order of their keys, or are sorted by ``load``."""
        self._blocks.append(key)
        self._next = max(self._next, BlockKey(key.hour, key.number + 1))
        for at in range(0, len(block), ENTRY_BYTES):
            entry = block[at : at + ENTRY_BYTES]
            index = _bucket(entry)
            bucket = self._buckets[index]
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
        return [key for key in self._blocks if key.hour == hour]

    def forget(self, hour: int) -> None:
        """Drop what was remembered up to the end of this hour, with its blocks.

        An entry may lie in a later block than its moment says, and is forgotten with its moment: then a
        target counts as not known to be dead, and is called, which is the safe side.
        """
        while self._blocks and self._blocks[0].hour <= hour:
            self._blocks.popleft()
        end = (hour + 1) * HOUR_MS
        for bucket in self._buckets:
            if bucket:
                self._count -= _cut_before(bucket, end)


def pack(entries: Iterable[tuple[bytes, int]]) -> bytes:
    """Return a block of (digest, moment in ms since the Unix epoch)."""
    return b"".join(digest + _MOMENT.pack(max(0, at // _SECOND_MS) & 0xFFFFFFFF) for digest, at in entries)


def unpack(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield (digest, moment in ms since the Unix epoch) of a block."""
    for at in range(0, len(block), ENTRY_BYTES):
        yield block[at : at + DIGEST_BYTES], _MOMENT.unpack_from(block, at + DIGEST_BYTES)[0] * _SECOND_MS


def _bucket(entry: bytes) -> int:
    return (entry[0] << 4) | (entry[1] >> 4)


def _cut_before(bucket: bytearray, end_at: int) -> int:
    """Cut the entries before a moment off the head: they come about in order, the rest needs no look."""
    end = 0
    while end < len(bucket) and _MOMENT.unpack_from(bucket, end + DIGEST_BYTES)[0] * _SECOND_MS < end_at:
        end += ENTRY_BYTES
    del bucket[:end]
    return end // ENTRY_BYTES
