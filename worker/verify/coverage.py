"""Counts what was checked for each promise, and what was not and why: no promise is kept by looking away."""

from __future__ import annotations

from collections import Counter, defaultdict


class Coverage:
    """Of one examination, or of several added up."""

    def __init__(self) -> None:
        self.checked: dict[str, Counter[str]] = defaultdict(Counter)
        """By promise: how many of what were checked."""
        self.left_out: dict[str, Counter[str]] = defaultdict(Counter)
        """By promise: what could not be checked, and why; 0 where it was not there at all."""

    def check(self, promise: str, what: str, count: int = 1) -> None:
        """Count what was checked."""
        if count:
            self.checked[promise][what] += count

    def leave(self, promise: str, why: str, count: int = 1) -> None:
        """Count what could not be checked."""
        if count:
            self.left_out[promise][why] += count

    def lack(self, promise: str, what: str) -> None:
        """Note what was not there to be checked at all."""
        self.left_out[promise][what] = 0

    def add(self, other: Coverage) -> None:
        """Add what another examination counted."""
        for promise, counts in other.checked.items():
            self.checked[promise].update(counts)
        for promise, counts in other.left_out.items():
            self.left_out[promise].update(counts)
