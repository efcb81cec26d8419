"""Kills workers at points that a seed chooses, under load: `python -m tests.crash --rounds 20 --seed 1`.

In a round one worker after the other dies, each at some passing of some point; then everything is judged.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Final

from tests.brokers.fixtures import fresh_prefix
from tests.crash.doom import Sentence
from tests.crash.matrix import ON_CALL
from tests.crash.theatre import Theatre, open_theatre
from tests.crash.wire import WireMoment
from tests.faults.sending import send
from worker.crash_points import CrashPoint
from worker.sandbox.obtain_kafka import obtain_kafka

_POINTS: Final = sorted({*CrashPoint, *WireMoment} - ON_CALL)
_MOST: Final = 12
"""At this passing at the latest."""
_ENDS: Final = frozenset(
    {
        CrashPoint.DRAIN_BEGUN,
        CrashPoint.CALLS_ENDED,
        CrashPoint.WOUND_UP,
        CrashPoint.DRAINED,
        CrashPoint.LEFT,
    }
)
_LIVES_S: Final = 6.0
"""A worker that has not come to its point by then is killed where it is."""


def main() -> int:
    """Play the rounds; the exit code is 1 if a promise was broken in any."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the others count on")
    parser.add_argument("--deaths", type=int, default=8, help="in each round")
    parser.add_argument("--requests", type=int, default=150, help="in each round")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.rounds)
    return asyncio.run(_play_all(seeds, deaths=given.deaths, requests=given.requests))


async def _play_all(seeds: range, *, deaths: int, requests: int) -> int:
    bad = 0
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    async with obtain_kafka(directory=folder / "kafka") as kafka:
        for seed in seeds:
            directory = folder / f"round-{seed}"
            directory.mkdir()
            try:
                died_at = await play_round(
                    directory,
                    seed=seed,
                    deaths=deaths,
                    requests=requests,
                    bootstrap_servers=kafka.bootstrap_servers,
                )
                sys.stdout.write(f"seed {seed}: all promises kept; died at {', '.join(died_at)}\n")
            except (AssertionError, TimeoutError, ExceptionGroup) as error:
                bad += 1
                sys.stdout.write(f"seed {seed}: {error}\n  see {directory}\n")
            sys.stdout.flush()
    return int(bad > 0)


async def play_round(
    directory: Path, *, seed: int, deaths: int, requests: int, bootstrap_servers: str
) -> list[str]:
    """Play one round, and return where workers died. Raises AssertionError with what was broken."""
    random = Random(seed)  # noqa: S311 - a seed, no secret
    async with open_theatre(
        directory, bootstrap_servers=bootstrap_servers, prefix=fresh_prefix(), seed=seed
    ) as theatre:
        theatre.load.plan(requests, over_ms=deaths * 1_500)
        sending = asyncio.create_task(
            send(
                theatre.load.planned,
                bootstrap_servers=bootstrap_servers,
                topic=theatre.stage.requests,
            )
        )
        died_at = [await _one_death(theatre, random) for _ in range(deaths)]
        theatre.hire()
        await sending
        await theatre.judge()
    return died_at


async def _one_death(theatre: Theatre, random: Random) -> str:
    point: str = random.choice(_POINTS)
    listen = point in set(WireMoment)
    worker = theatre.hire(Sentence(point=point, nth=random.randint(1, _MOST)), listen=listen)
    if point in _ENDS:
        await theatre.stage.settled()
        theatre.alive.child.signal(signal.SIGTERM)
    try:
        await worker.child.ended(within_s=_LIVES_S)
    except TimeoutError:
        theatre.kill()
        return "another place"
    if worker.child.code == 0:
        theatre.worker = None
        return "no place: it ended first"
    await theatre.death(point)
    return str(point)


if __name__ == "__main__":
    sys.exit(main())
