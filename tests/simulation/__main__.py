"""Plays seeds and shows what came of them: `python -m tests.simulation SEED`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.scenario import play
from tests.simulation.show import told
from tests.simulation.subject import make_shard


def main() -> int:
    """Play one seed and show its history, or many and show the bad ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, help="the (first) seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, from this one on")
    arguments = parser.parse_args()
    if arguments.count == 1:
        outcome = play(arguments.seed, make_shard=make_shard)
        sys.stdout.write(f"{told(outcome)}\n")
        return 0 if outcome.good else 1
    bad, states, began = 0, Counter[str](), time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        outcome = play(seed, make_shard=make_shard)
        states += outcome.states
        if not outcome.good:
            bad += 1
            first = [*outcome.violations, *outcome.misuses, outcome.failure]
            sys.stdout.write(f"seed {seed}: {' '.join(str(first[0]).split())[:240]}\n")
    took = time.perf_counter() - began
    sys.stdout.write(
        f"{arguments.count} seeds, {bad} bad, {took:.1f} s; events by state: {dict(states.most_common())}\n"
    )
    return 0 if bad == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
