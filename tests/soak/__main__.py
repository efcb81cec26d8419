"""Mixes faults under load, for minutes or hours: `python -m tests.soak --minutes 5 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.brokers.fixtures import fresh_prefix
from tests.soak.course import soak
from tests.soak.outcome import LOOK_S, RATE, Course
from worker.sandbox.local_kafka import local_kafka


def main() -> int:
    """Play one soak, with a line each minute and a report at the end; the exit code is 1 if it failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--hours", type=float, default=0.0, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--look", type=float, default=LOOK_S, help="seconds between looks at everything")
    parser.add_argument("--into", type=Path, help="folder for logs and report; left out: a new one")
    given = parser.parse_args()
    course = Course(
        seed=given.seed,
        for_s=given.hours * 3600 or given.minutes * 60,
        rate=given.rate,
        look_s=given.look,
    )
    # A broker that is away is what a soak is about: aiokafka need not tell of each try.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder: Path = given.into or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_play(course, folder))


async def _play(course: Course, folder: Path) -> int:
    directory = folder / "stage"
    directory.mkdir()
    async with local_kafka(directory=folder / "kafka") as kafka:
        outcome = await soak(course, directory=directory, kafka=kafka, prefix=fresh_prefix(), say=_say)
    if outcome.report is not None:
        _say(outcome.report.text())
        _say(outcome.report.markdown())
    _say(outcome.told())
    if outcome.good:
        shutil.rmtree(folder / "kafka")
    return 0 if outcome.good else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
