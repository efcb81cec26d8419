"""How a shard steers what it is fed (ports.Feed): positions, a pause, and a gate that starts shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import Input

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class PartitionFeed:
    """One shard's feed. Nothing is delivered before ``seek``, nor anything of before the last ``seek``."""

    def __init__(self, *, changed: Callable[[], None], opened: Callable[[], None]) -> None:
        """Take whom to tell of any change, and of a gate that opened."""
        self._changed = changed
        self._opened = opened
        self._positions: dict[Input, int] = {}
        self._paused = False
        self._era = 0
        self.trouble: dict[Input, str] = {}
        """Why an input stands still, by input; for health and alarms."""

    @property
    def era(self) -> int:
        """Counts the seeks and shuts: records that were asked for in an earlier era are void."""
        return self._era

    def seek(self, positions: dict[Input, int]) -> None:
        """From now on feed records from these offsets on, in order, per input; see ports.Feed."""
        self._positions = dict(positions)
        self._paused = False
        self._era += 1
        self.trouble.clear()
        self._changed()
        self._opened()

    def pause(self) -> None:
        """Feed no requests for now (commands and notices keep coming)."""
        self._paused = True

    def resume(self) -> None:
        """Feed requests again."""
        self._paused = False
        self._changed()

    def shut(self) -> None:
        """Feed nothing before the next ``seek``."""
        self._positions = {}
        self._era += 1

    def wanted(self, inputs: Collection[Input]) -> dict[Input, int]:
        """Return which of these inputs may be fetched now, and from where."""
        return {
            source: position
            for source, position in self._positions.items()
            if source in inputs and not (self._paused and source is Input.REQUESTS)
        }

    def advance(self, source: Input, position: int) -> None:
        """Note that everything before ``position`` was delivered."""
        self._positions[source] = position
