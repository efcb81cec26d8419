"""A clock that a test moves while a worker runs: the machine's, and an offset in a file both have mapped."""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from tests.faults.stage import now_ms

if TYPE_CHECKING:
    from pathlib import Path

_OFFSET: Final = struct.Struct("<q")
_UNSURE_MS: Final = 100
"""So much later may a call arrive that began before the clock was moved, or be noted before it."""


class WorkerClock:
    """Moves the clock of one worker or more, and knows what it said at any moment."""

    def __init__(self, file: Path, *, offset_ms: int = 0) -> None:
        """Make the file."""
        self.file = file
        file.write_bytes(_OFFSET.pack(offset_ms))
        self._map = _mapped(file)
        self._moves: list[tuple[int, int]] = [(0, offset_ms)]

    @property
    def offset_ms(self) -> int:
        """How far it is ahead of the machine's."""
        return self._moves[-1][1]

    @property
    def now_at(self) -> int:
        """What it says now (ms since the Unix epoch)."""
        return now_ms() + self.offset_ms

    def jump(self, by_ms: int) -> None:
        """Set it forward, or back."""
        self.set(self.offset_ms + by_ms)

    def set(self, offset_ms: int) -> None:
        """Set it so far ahead of the machine's clock."""
        self._moves.append((now_ms(), offset_ms))
        self._map[: _OFFSET.size] = _OFFSET.pack(offset_ms)

    def latest(self, at: int) -> int:
        """Return the latest that it can have said at that moment of the machine's clock."""
        first = max(0, bisect_right(self._moves, at - _UNSURE_MS, key=lambda move: move[0]) - 1)
        last = bisect_left(self._moves, at + _UNSURE_MS, key=lambda move: move[0])
        return at + max(offset for _, offset in self._moves[first : max(last, first + 1)])


class SharedOffset:
    """The same file, as the worker's process reads it."""

    def __init__(self, file: Path) -> None:
        self._map = _mapped(file)

    def __call__(self) -> int:
        """Return the time by this clock, in ms since the Unix epoch."""
        offset: int = _OFFSET.unpack(self._map[: _OFFSET.size])[0]
        return now_ms() + offset


def _mapped(file: Path) -> mmap.mmap:
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), _OFFSET.size)
