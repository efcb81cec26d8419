"""Draws the tables of docs/proof.md and docs/proof-tests.md: `python -m tests.proof [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.table import crashes
from tests.mutations.catalogue import MUTANTS
from tests.proof.catalogue import LEVELS, ROOT, CollectionFailed, Proof, collect
from tests.proof.promises import PROMISES
from worker.saga.diagram import redraw, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCS: Final = ROOT / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the drawn parts of the page, or with `--check` compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is not as drawn"
    )
    options = parser.parse_args(arguments)
    try:
        codes = [
            redraw(DOCS / page, parts, check=options.check, command=parser.prog)
            for page, parts in PAGES.items()
        ]
        return max(codes)
    except CollectionFailed as error:
        sys.stderr.write(f"pytest could not collect the tests:\n{error}\n")
        return 1


@cache
def proofs() -> tuple[Proof, ...]:
    """Return all tests that prove a promise."""
    return tuple(proof for proof in collect() if proof.promises)


def promises() -> str:
    """Draw how many tests prove each promise, at which level."""
    rows = []
    for name, sentence in PROMISES.items():
        mine = [proof for proof in proofs() if name in proof.promises]
        by_level = Counter[str]()
        for proof in mine:
            by_level[proof.level] += proof.cases
        faults = {text for proof in mine for text in proof.faults}
        mutants = sum(mutant.promise == name for mutant in MUTANTS)
        counts = [str(by_level[level] or "") for level in LEVELS]
        rows.append(
            [f"[{name}](proof-tests.md#{name.lower()})", sentence, *counts, str(len(faults)), str(mutants)]
        )
    return table(["", "promise", *LEVELS, "faults", "mutants"], rows)


def tests() -> str:
    """Draw what each promise's tests say, by promise and file."""
    parts = []
    for name, sentence in PROMISES.items():
        parts.append(f"\n## {name}\n\n{sentence}.\n")
        by_file: dict[str, list[Proof]] = defaultdict(list)
        for proof in proofs():
            if name in proof.promises:
                by_file[proof.path].append(proof)
        for path, mine in sorted(by_file.items(), key=_order):
            parts.append(f"\n[{path}](../{path}) ({mine[0].level})\n\n")
            parts += [_line(proof) for proof in mine]
    return "".join(parts) + "\n"


def _order(found: tuple[str, list[Proof]]) -> tuple[int, str]:
    path, mine = found
    return LEVELS.index(mine[0].level), path


def _line(proof: Proof) -> str:
    cases = f" ({proof.cases} cases)" if proof.cases > 1 else ""
    return f"- {proof.sentence.rstrip('.')}{cases}\n"


def faults() -> str:
    """Draw what is done to the worker and its world, and by which files."""
    found: dict[str, set[str]] = defaultdict(set)
    for proof in proofs():
        for text in proof.faults:
            found[text].add(proof.path)
    rows = [
        [text, ", ".join(f"[{Path(path).stem}](../{path})" for path in sorted(paths))]
        for text, paths in sorted(found.items(), key=lambda one: (sorted(one[1]), one[0]))
    ]
    return table(["fault", "by"], rows)


def mutants() -> str:
    """Draw how each promise is broken on purpose, and what notices."""
    rows = [
        [mutant.promise, mutant.breaks, "<br>".join(_short(name) for name in mutant.caught_by)]
        for mutant in MUTANTS
    ]
    return table(["", "broken on purpose", "caught by"], rows)


def _short(name: str) -> str:
    path, _, test = name.partition("::")
    return f"[{Path(path).stem}](../{path})::{test.split('[')[0]}" if test else f"[{path}](../{path})"


PAGES: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "proof.md": {"promises": promises, "mutants": mutants, "crashes": crashes, "faults": faults},
    "proof-tests.md": {"tests": tests},
}
"""What is drawn on which page, by the name in its marks."""


if __name__ == "__main__":
    sys.exit(main())
