"""Plays the small scenarios with a mishap before each step, in several processes."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.show import told
from tests.simulation.small import SMALL, Mishap, ends_of, play_small
from tests.simulation.subject import make_shard

if TYPE_CHECKING:
    from tests.simulation.crash_points import Point

CHUNK = 40
"""Steps that a process tries before it reports."""


@dataclass(frozen=True, slots=True)
class Course:
    """One scenario with one kind of mishap to one worker, at a range of steps."""

    scenario: str
    mishap: Mishap
    steps: range


@dataclass(slots=True)
class Struck:
    """What came of it."""

    runs: int = 0
    bad: list[str] = field(default_factory=list)
    """The first bad run of each course, as a history."""
    points: set[Point] = field(default_factory=set)
    """Where in the shard's code the tasks of killed workers stood."""


def courses(mishap: Mishap, *, stride: int) -> list[Course]:
    """Return what there is to try: each scenario, every `stride`th step to its end."""
    found = []
    for name, small in SMALL.items():
        last = play_small(small, make_shard=make_shard)[0].steps
        found += [
            Course(name, mishap, range(first, min(last, first + CHUNK * stride), stride))
            for first in range(1, last, CHUNK * stride)
        ]
    return found


def strike_all(tried: list[Course]) -> Struck:
    """Play all of it, in as many processes as there are cores."""
    total = Struck()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count() or 1, mp_context=context) as pool:
        for struck in pool.map(strike, tried):
            total.runs += struck.runs
            total.bad += struck.bad
            total.points |= struck.points
    return total


def strike(course: Course) -> Struck:
    """Play one course in this process, to its first bad run."""
    small, struck = SMALL[course.scenario], Struck()
    for at in course.steps:
        outcome, untouched = play_small(small, make_shard=make_shard, mishap=course.mishap, at=at)
        struck.runs += 1
        struck.points |= outcome.crash_points
        if not outcome.good or ends_of(outcome) != small.ends:
            where = f"{course.scenario}: {course.mishap.value} the owner before step {at}"
            struck.bad.append(f"{where}, ends {ends_of(outcome)} instead of {small.ends}\n{told(outcome)}")
            break
        if untouched:
            break
    return struck
