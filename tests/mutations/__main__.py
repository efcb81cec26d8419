"""Tries mutants and shows which test catches each: `python -m tests.mutations [NAME …] [--all]`."""

from __future__ import annotations

import argparse
import os
import sys

from tests.mutations.catalogue import MUTANTS
from tests.mutations.laboratory import examine


def main() -> int:
    """Try the named mutants, or those without a real broker, or all; exit code 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="which mutants; left out: those that need no real broker")
    parser.add_argument("--all", action="store_true", help="also those that need a real broker")
    parser.add_argument("--hands", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--told", action="store_true", help="print what pytest said of survivors")
    given = parser.parse_args()
    unknown = set(given.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [
        mutant
        for mutant in MUTANTS
        if (mutant.name in given.names if given.names else given.all or not mutant.real_broker)
    ]
    survivors = 0
    for finding in examine(chosen, hands=given.hands):
        mark = "SURVIVED " + ", ".join(finding.survived) if finding.survived else "caught"
        sys.stdout.write(
            f"{finding.mutant.promise:4} {finding.mutant.name:40} {finding.seconds:5.1f} s  {mark}\n"
        )
        sys.stdout.flush()
        if finding.survived:
            survivors += 1
            if given.told:
                sys.stdout.write(finding.output + "\n")
    sys.stdout.write(f"{len(chosen)} mutants, {survivors} survived\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
