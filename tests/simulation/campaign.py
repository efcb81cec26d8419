"""Plays many seeds in several processes, and adds up what came of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.coverage import reached
from tests.simulation.scenario import play
from tests.simulation.show import told
from tests.simulation.subject import make_shard

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 20
"""Seeds that a process plays before it reports."""
SHOWN_MOST = 3
"""Histories that are kept of the seeds that broke a promise; the others are named."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of a number of seeds."""

    seeds: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    bad: dict[int, str] = field(default_factory=dict)
    """By seed: what was broken, in one line."""
    shown: dict[int, str] = field(default_factory=dict)
    """By seed: the whole history of some of the bad ones."""
    states: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what came of other seeds."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.simulated_s += other.simulated_s
        self.bad |= other.bad
        for seed, history in sorted(other.shown.items()):
            if len(self.shown) < SHOWN_MOST:
                self.shown[seed] = history
        self.states += other.states
        self.reached += other.reached

    def summary(self) -> str:
        """Say in a few lines what came of it."""
        lines = [f"  seed {seed}: {what}" for seed, what in sorted(self.bad.items())]
        lines += [
            (
                f"{self.seeds:,} seeds, {len(self.bad)} bad, {self.steps:,} steps, "
                f"{self.simulated_s / 86_400:.1f} simulated days"
            ),
            "events by state: " + ", ".join(f"{name} {count:,}" for name, count in self.states.most_common()),
        ]
        return "\n".join(lines)


def play_all(first: int, count: int, *, jobs: int | None = None, progress: Callable[[Tally], None]) -> Tally:
    """Play the seeds from `first` on, in as many processes as there are cores; the order does not matter."""
    tally = Tally()
    chunks = [(seed, min(CHUNK, first + count - seed)) for seed in range(first, first + count, CHUNK)]
    jobs = min(jobs or os.cpu_count() or 1, len(chunks))
    # Spawned, not forked: whoever calls may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context) as pool:
        for done in as_completed([pool.submit(play_chunk, *chunk) for chunk in chunks]):
            tally.add(done.result())
            progress(tally)
    return tally


def play_chunk(first: int, count: int) -> Tally:
    """Play some seeds in this process."""
    tally = Tally(seeds=count)
    # A run leaves cycles behind, and all at once: they are collected between runs.
    gc.disable()
    for seed in range(first, first + count):
        try:
            outcome = play(seed, make_shard=make_shard)
        except Exception as error:
            error.add_note(f"seed {seed}: python -m tests.simulation {seed}")
            raise
        tally.steps += outcome.steps
        tally.simulated_s += outcome.seconds
        tally.states += outcome.states
        tally.reached += reached(outcome)
        if not outcome.good:
            worst = [*outcome.violations, *outcome.misuses, outcome.failure]
            tally.bad[seed] = " ".join(str(worst[0]).split())[:240]
            tally.shown[seed] = told(outcome)
        del outcome
        gc.collect()
    gc.enable()
    return tally
