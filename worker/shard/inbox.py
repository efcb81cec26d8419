"""What one input was fed and the shard has not decided yet, within bounds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.ports import Record


class Inbox:
    """Records of one input that were fed and not yet decided; what does not fit is asked for again later."""

    __slots__ = ("_bytes", "_next", "_records", "spilled")

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._next: int | None = None
        self.spilled = False
        """Records were dropped: nothing more fits before the feed has been sought anew."""

    def __len__(self) -> int:
        return len(self._records)

    def full(self, *, most: int, most_bytes: int) -> bool:
        """Tell whether there are so many records or bytes."""
        return len(self._records) >= most or self._bytes >= most_bytes

    def put(self, record: Record, *, most: int, most_bytes: int) -> None:
        """Keep a record, unless there is more than one full inbox already beyond the limit."""
        if self.spilled or self.full(most=2 * most, most_bytes=2 * most_bytes):
            self.spilled = True
            return
        self._records.append(record)
        self._bytes += 0 if record.value is None else len(record.value)
        self._next = record.offset + 1

    def take(self) -> Record:
        """Take the oldest record."""
        record = self._records.popleft()
        self._bytes -= 0 if record.value is None else len(record.value)
        return record

    def next_of(self, position: int) -> int:
        """Return the offset after what is here; ``position`` if nothing is."""
        return position if self._next is None or not self._records else self._next

    def clear(self) -> None:
        """Drop everything: it will be fed again."""
        self._records.clear()
        self._bytes = 0
        self._next = None
        self.spilled = False
