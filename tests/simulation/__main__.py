"""Plays seeds and shows what came of them: `python -m tests.simulation SEED [--count N | --shrink]`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tests.simulation.campaign import play_all
from tests.simulation.coverage import missing
from tests.simulation.scenario import play
from tests.simulation.show import told
from tests.simulation.shrink import shrink
from tests.simulation.subject import make_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.campaign import Tally


def main() -> int:
    """Play one seed and show its history, or many and show the bad ones and what they reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, help="the (first) seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, from this one on")
    parser.add_argument("--jobs", type=int, help="how many processes play them (one for each core)")
    parser.add_argument("--shrink", action="store_true", help="leave out what is not needed")
    arguments = parser.parse_args()
    if arguments.count > 1:
        return _many(arguments.seed, arguments.count, jobs=arguments.jobs)
    if arguments.shrink:
        return _smaller(arguments.seed)
    outcome = play(arguments.seed, make_shard=make_shard)
    sys.stdout.write(f"{told(outcome)}\n")
    return 0 if outcome.good else 1


def _smaller(seed: int) -> int:
    shrunk = shrink(seed, make_shard=make_shard)
    sys.stdout.write(f"{told(shrunk.outcome, without=shrunk.without)}\n")
    if shrunk.outcome.good:
        return 0
    left, whole = shrunk.left, len(shrunk.outcome.deeds)
    sys.stdout.write(f"{len(left)} of {whole} deeds left: {', '.join(left)}; played {shrunk.tries} times\n")
    return 1


def _many(first: int, count: int, *, jobs: int | None) -> int:
    began = time.perf_counter()
    tally = play_all(first, count, jobs=jobs, progress=_progress(count, began))
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    for history in tally.shown.values():
        sys.stdout.write(f"{history}\n\n")
    sys.stdout.write(f"{tally.summary()}\n")
    if gaps := missing(tally.reached):
        sys.stdout.write(f"not reached: {', '.join(gaps)}\n")
    else:
        sys.stdout.write("everything on the list of tests/simulation/coverage.py was reached\n")
    sys.stdout.write(
        f"{time.perf_counter() - began:.0f} s; see one: python -m tests.simulation SEED --shrink\n"
    )
    return 0 if not tally.bad else 1


def _progress(count: int, began: float) -> Callable[[Tally], None]:
    def show(tally: Tally) -> None:
        rate = tally.seeds / max(0.001, time.perf_counter() - began)
        line = f"{tally.seeds:,} of {count:,} seeds, {len(tally.bad)} bad, {rate:.0f} a second"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        elif tally.seeds % 1_000 < 20:  # a log keeps one line for each thousand or so
            sys.stderr.write(f"{line}\n")

    return show


if __name__ == "__main__":
    sys.exit(main())
