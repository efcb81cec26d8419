"""Plays rounds of faults on real Kafka: `python -m tests.faults --rounds 20 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.brokers.fixtures import fresh_prefix
from tests.faults.rounds import Course, Outcome, play
from tests.faults.schedule import Kind
from worker.sandbox.obtain_kafka import obtain_kafka


def main() -> int:
    """Play the rounds, a line for each, and more of a failed one; the exit code is 1 if any has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the others count on")
    parser.add_argument("--kinds", default="", help="kill,term,stop,nap,scale; left out: the seed chooses")
    parser.add_argument("--requests", type=int, default=350)
    parser.add_argument("--over-ms", type=int, default=12_000, help="how long load and faults go on")
    parser.add_argument("--static", action="store_true", help="workers with instance ids")
    given = parser.parse_args()
    return asyncio.run(
        _play_all([_course(given, seed) for seed in range(given.seed, given.seed + given.rounds)])
    )


def _course(given: argparse.Namespace, seed: int) -> Course:
    random = Random(seed)  # noqa: S311 - a seed, no secret
    kinds = [Kind(kind) for kind in given.kinds.split(",") if kind]
    if kinds:
        static = given.static
    else:
        kinds = random.choice(
            ([Kind.KILL], [Kind.TERM], [Kind.STOP], [Kind.NAP], [Kind.SCALE], list(Kind), list(Kind))
        )
        static = random.random() < 0.4
    return Course(
        seed=seed,
        kinds=frozenset(kinds),
        requests=given.requests,
        over_ms=given.over_ms,
        static=static,
    )


async def _play_all(courses: list[Course]) -> int:
    bad = 0
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    async with obtain_kafka(directory=folder / "kafka") as kafka:
        for course in courses:
            directory = folder / f"round-{course.seed}"
            directory.mkdir()
            began = time.monotonic()
            outcome = await play(
                course,
                directory=directory,
                bootstrap_servers=kafka.bootstrap_servers,
                prefix=fresh_prefix(),
            )
            bad += not outcome.good
            _say(_line(outcome, seconds=time.monotonic() - began))
            if outcome.good:
                shutil.rmtree(directory)
            else:
                _say(outcome.told())
    if not bad:
        shutil.rmtree(folder)
    _say(f"{len(courses)} rounds, {bad} failed")
    return 1 if bad else 0


def _line(outcome: Outcome, *, seconds: float) -> str:
    done = " ".join(f"{kind} {count}" for kind, count in sorted(outcome.done.items()))
    ends = " ".join(f"{state} {count}" for state, count in sorted(outcome.states.items()))
    verdict = "good" if outcome.good else "FAILED"
    static = ", static" if outcome.course.static else ""
    return (
        f"seed {outcome.course.seed}: {verdict}, {seconds:.0f} s; {outcome.sent} sent, {outcome.calls} calls"
        f"; faults: {done}{static}; events: {ends}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
