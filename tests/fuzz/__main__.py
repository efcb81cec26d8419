"""`make fuzz MINUTES=10`: all doors in turn, new examples, until the time is up; code 1 if one gave way."""

from __future__ import annotations

import argparse
import importlib
import secrets
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.doors import CORPUS, DOORS, ran

_TURN_S = 20.0
"""About how long one door is knocked at before the next one has its turn."""
_FIRST_EXAMPLES = 50


def main() -> int:
    """Fuzz for the given minutes and tell what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 if left out")
    parser.add_argument("--only", default="", help="only doors with this in room or name, such as journal")
    parser.add_argument("--number", type=int, default=None, help="where the examples begin; told by each run")
    given = parser.parse_args()
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.fuzz.{file.stem}")
    doors = [door for door in DOORS if given.only in f"{door.room} {door.name}"]
    if not doors:
        sys.stderr.write(
            f"no door is called so; there are: {', '.join(sorted({door.room for door in DOORS}))}\n"
        )
        return 2
    number = secrets.randbelow(10**9) if given.number is None else given.number
    _say(f"{len(doors)} doors for {given.minutes:g} minutes; again with the same examples: --number {number}")
    end = time.monotonic() + given.minutes * 60
    pace = {door.name: _FIRST_EXAMPLES for door in doors}
    gave_way: Counter[str] = Counter()
    while time.monotonic() < end:
        for door in doors:
            left_s = end - time.monotonic()
            if left_s <= 0:
                break
            began = time.monotonic()
            number += 1
            try:
                door.knock(examples=pace[door.name], number=number)
            except Exception:  # noqa: BLE001 - whatever a door gives way with is told, and the next one has its turn
                gave_way[door.name] += 1
                _say(f"GAVE WAY: {door.room}: {door.name} (--number {number})\n{traceback.format_exc()}")
            took_s = max(time.monotonic() - began, 0.01)
            _say(
                f"{door.room:10} {pace[door.name]:6} examples {took_s:6.1f} s  {door.sentence[:70]}"
                f"  [{max(0.0, left_s) / 60:.1f} min left]"
            )
            wanted_s = min(_TURN_S, given.minutes * 60 / len(doors) / 2)
            pace[door.name] = max(10, int(pace[door.name] * min(4.0, wanted_s / took_s)))
    _say("\nexamples given: " + ", ".join(f"{room} {count}" for room, count in sorted(ran.items())))
    if gave_way:
        _say(f"gave way: {', '.join(gave_way)}; kept in {CORPUS}, and tried first the next time")
        return 1
    _say("no door gave way")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
