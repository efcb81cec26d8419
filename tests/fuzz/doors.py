"""The list of doors that are fuzzed, and how: the same examples each time in CI, new ones in a longer run."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

CORPUS: Final = ".hypothesis/fuzz"
"""Where a longer run keeps what failed: it is tried first the next time."""

ran: Final[Counter[str]] = Counter()
"""How many examples each door was given, in this process."""


@dataclass(frozen=True, slots=True)
class Door:
    """One property of one door."""

    room: str
    """The door, in a word: `records`, `journal`, `settings` …"""
    name: str
    sentence: str
    """What must hold."""
    examples: int
    """How many CI gives it."""
    property: Callable[..., None]
    given: dict[str, SearchStrategy[Any]]

    def knock(self, *, examples: int, number: int) -> None:
        """Give it new examples; ``number`` makes them come again. Raises what the property raises."""
        many = settings(
            max_examples=examples,
            deadline=None,
            database=DirectoryBasedExampleDatabase(CORPUS),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        many(seed(number)(given(**self.given)(self.property)))()


DOORS: Final[list[Door]] = []


def door(
    room: str, *, examples: int, **strategies: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a property, and put it on the list.

    In CI it gets the same examples each time; one that fails is printed with a blob for
    ``hypothesis.reproduce_failure``.
    """

    def listed(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            ran[room] += 1
            test(*args, **kwargs)

        sentence = (test.__doc__ or "").strip().partition("\n")[0]
        DOORS.append(Door(room, test.__name__, sentence, examples, counted, dict(strategies)))
        same_each_time = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        return same_each_time(given(**strategies)(counted))

    return listed
