"""Makes a story that breaks a promise small: leaves out deeds as long as the promise stays broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.scenario import Outcome, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.process import Ports, Shard


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A story, and how much of it is left."""

    outcome: Outcome
    without: frozenset[str]
    """The deeds that were left out."""
    tries: int

    @property
    def left(self) -> tuple[str, ...]:
        """The deeds that it needs."""
        return tuple(deed for deed in self.outcome.deeds if deed not in self.without)


def shrink(seed: int, *, make_shard: Callable[[Ports], Shard]) -> Shrunk:
    """Leave out halves, quarters, and at last single deeds, as long as one of the same promises stays broken.

    A seed that breaks none comes back whole.
    """
    whole = play(seed, make_shard=make_shard)
    best, without, tries = whole, frozenset[str](), 1
    if whole.good:
        return Shrunk(whole, without, tries)
    size = max(1, len(whole.deeds) // 2)
    while True:
        left = [deed for deed in whole.deeds if deed not in without]
        smaller = False
        for first in range(0, len(left), size):
            tried = without | frozenset(left[first : first + size])
            outcome = play(seed, make_shard=make_shard, without=tried)
            tries += 1
            if outcome.broken & whole.broken:
                best, without, smaller = outcome, tried, True
        if size == 1 and not smaller:
            return Shrunk(best, without, tries)
        size = max(1, size // 2)
