"""How many calls at once, and how many a second: per counterpart, and for the process.

First come, first served. The numbers are one process's own: another process has its own limits. Counterparts
share nothing but these numbers: one that hangs takes no place from another.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from worker.ports import NotBegun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

SLOWEST: Final = 0.2
"""Attempts a second below which no counterpart's wish brings us."""
RECOVERY_S: Final = 60.0
"""Seconds in which a lowered rate doubles again."""
_ONE_SIGNAL_S: Final = 1.0
"""Answers within a second of each other are one wish: they were in flight together."""
_UNBOUNDED_AGAIN: Final = 10_000.0
"""A rate without a ceiling that has recovered to this is no rate any more."""
_BURST_S: Final = 0.1
"""Seconds' worth of attempts that may start at once after a lull."""
_LONGEST_NAP_S: Final = 1.0


def share_out(wanted: Mapping[str, int], *, in_flight: int) -> dict[str, int]:
    """Return how many attempts each counterpart may have at a time, so that together they have ``in_flight``.

    Max-min fair: who wants less than an even share has it, the others share the rest evenly; each has one at
    least. The shares are fixed: a place that one may lend to another is gone when the other one hangs.
    """
    left = in_flight
    shares = dict(wanted)
    for place, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        shares[name] = max(1, min(wanted[name], left // (len(wanted) - place)))
        left = max(0, left - shares[name])
    return shares


class Pace:
    """A token bucket: its rate halves when a counterpart wants fewer calls, and doubles again each minute."""

    __slots__ = (
        "_at",
        "_ceiling",
        "_counted",
        "_counting_since",
        "_now",
        "_queue",
        "_rate",
        "_seen",
        "_sleep",
        "_slowed_at",
        "_tokens",
    )

    def __init__(
        self,
        rate: float | None,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Begin at ``rate`` attempts a second (``None``: no limit); ``now`` gives seconds, never less."""
        self._ceiling = math.inf if rate is None else rate
        self._rate = self._ceiling
        self._now = now
        self._sleep = sleep
        self._queue = asyncio.Lock()
        self._at = now()
        self._tokens = self._burst()
        self._slowed_at = -math.inf
        self._counting_since = self._at
        self._counted = 0
        self._seen = 0.0

    @property
    def rate(self) -> float:
        """Attempts a second now; infinite where there is no limit."""
        self._advance()
        return self._rate

    async def turn(self) -> None:
        """Return when an attempt may start; those who wait are let go in order."""
        if self._queue.locked() or not self._take():
            async with self._queue:
                while not self._take():
                    await self._sleep(min((1.0 - self._tokens) / self._rate, _LONGEST_NAP_S))
        self._counted += 1

    def give_back(self) -> None:
        """Undo a turn: the attempt has not started after all."""
        self._advance()
        self._tokens = min(self._burst(), self._tokens + 1.0)
        self._counted = max(0, self._counted - 1)

    def slow_down(self) -> None:
        """Halve the rate, or the rate seen lately if that is lower; many such answers at once are one."""
        self._advance()
        if self._at - self._slowed_at < _ONE_SIGNAL_S:
            return
        self._slowed_at = self._at
        self._rate = max(SLOWEST, min(self._rate, self._lately()) / 2)
        self._tokens = min(self._tokens, 0.0)

    def _take(self) -> bool:
        self._advance()
        if self._rate == math.inf:
            return True
        # A hair's breadth of tolerance: a nap's length, added to a large clock, may fall short by rounding.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    def _advance(self) -> None:
        now = self._now()
        passed = now - self._at
        self._at = now
        if now - self._counting_since >= 1.0:
            self._seen = self._counted / (now - self._counting_since)
            self._counted = 0
            self._counting_since = now
        if self._rate == math.inf:
            return
        self._tokens = min(self._burst(), self._tokens + passed * self._rate)
        if self._rate < self._ceiling:
            self._rate = min(self._ceiling, self._rate * 2.0 ** (passed / RECOVERY_S))
            if self._ceiling == math.inf and self._rate > _UNBOUNDED_AGAIN:
                self._rate = math.inf

    def _lately(self) -> float:
        """Return the attempts started in a second: the one before, or this one if it is busier."""
        return max(self._seen, float(self._counted), 2 * SLOWEST)

    def _burst(self) -> float:
        return 1.0 if self._rate == math.inf else max(1.0, self._rate * _BURST_S)


class Limit:
    """The way to one counterpart: ``async with`` it around an attempt, never around a back-off."""

    __slots__ = ("_pace", "_places")

    def __init__(self, *, in_flight: int, pace: Pace) -> None:
        """Let so many attempts be under way, and begin as the pace says."""
        self._places = asyncio.Semaphore(in_flight)
        self._pace = pace

    async def __aenter__(self) -> None:
        await self._places.acquire()
        try:
            await self._pace.turn()
        except BaseException:
            self._places.release()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, NotBegun):
            self._pace.give_back()
        self._places.release()

    def slow_down(self) -> None:
        """Take a counterpart's wish for fewer calls."""
        self._pace.slow_down()
