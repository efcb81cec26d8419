"""Counts the sagas that ended, and measures the process while they do."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass


class Tally:
    """Counts ended sagas: those of the warm-up first, then those that are measured."""

    def __init__(self, *, warm_up: int, sagas: int) -> None:
        self._warm_up = warm_up
        self._all = warm_up + sagas
        self._ended = 0
        self.warm = asyncio.Event()
        self.done = asyncio.Event()

    @property
    def measured(self) -> int:
        """How many have ended after the warm-up."""
        return self._ended - self._warm_up

    def before_warm(self, more: int) -> None:
        """Wait for so many other things, told by ``ended`` too, before the warm-up is over."""
        self._warm_up += more
        self._all += more

    def ended(self) -> None:
        """Count one."""
        self._ended += 1
        if self._ended == self._warm_up:
            self.warm.set()
        if self._ended == self._all:
            self.done.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What the process had used when it was read, in seconds."""

    cpu_s: float
    """User and system time."""
    system_s: float
    """System time alone."""
    wall_s: float

    @staticmethod
    def read() -> Meter:
        """Read all of it."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Meter(cpu_s=used.ru_utime + used.ru_stime, system_s=used.ru_stime, wall_s=time.perf_counter())

    def since(self, earlier: Meter) -> Meter:
        """Return what was used in between."""
        return Meter(
            cpu_s=self.cpu_s - earlier.cpu_s,
            system_s=self.system_s - earlier.system_s,
            wall_s=self.wall_s - earlier.wall_s,
        )
