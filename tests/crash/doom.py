"""Kills its own process at a named point: in which point, which time and which partition, a file says."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from pathlib import Path

    from worker.crash_points import Passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Where a process is to die: at the ``nth`` passing of ``point`` from now on, in one partition or any."""

    point: str
    nth: int = 1
    partition: int | None = None
    """Points that the whole process passes have none, and count whatever is named here."""


def pronounce(sentence: Sentence, file: Path) -> None:
    """Put a sentence where the doomed process looks each time that it passes a point."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(orjson.dumps(asdict(sentence)))
    draft.replace(file)


class Doom:
    """Hears what a process passes, and executes the sentence."""

    def __init__(self, file: Path) -> None:
        """Take the file of the sentence; it may not exist yet, and may be replaced."""
        self._file = file
        self._read: tuple[int, int] | None = None
        self._sentence: Sentence | None = None
        self._passed = 0

    def passing_in(self, partition: int | None) -> Passing:
        """Return what one partition's parts are handed."""
        return partial(self.passed, partition)

    def passed(self, partition: int | None, point: str) -> None:
        """Kill this process if this is the moment."""
        sentence = self._now()
        if sentence is None or point != sentence.point:
            return
        if None not in (partition, sentence.partition) and partition != sentence.partition:
            return
        self._passed += 1
        if self._passed == sentence.nth:
            sys.stdout.write(f"killed at {point}\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def _now(self) -> Sentence | None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        seen = (found.st_ino, found.st_mtime_ns)
        if seen != self._read:
            self._read, self._passed = seen, 0
            self._sentence = Sentence(**orjson.loads(self._file.read_bytes()))
        return self._sentence
