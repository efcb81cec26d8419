"""Which tests there are, what they say, which promises they prove and what they do to the worker.

Taken from pytest's own collection: the markers `promise` and `fault`, and the level's marker.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.proof.promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT: Final = Path(__file__).parents[2]
LEVELS: Final = ("pure", "simulation", "wire", "broker", "whole")
"""From fast to slow; what has no level's marker is pure."""


class CollectionFailed(Exception):
    """Pytest could not collect the tests; the text is what it said."""


@dataclass(slots=True, kw_only=True)
class Proof:
    """One test function with all its cases."""

    path: str
    """Relative to the repository."""
    name: str
    sentence: str
    level: str
    cases: int = 0
    promises: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Collector:
    """A plugin of pytest that keeps what was collected."""

    items: list[pytest.Item] = field(default_factory=list)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the items."""
        self.items = list(session.items)


def collect(arguments: Sequence[str] = ("tests",)) -> list[Proof]:
    """Return all tests, in the order of their files. Raises CollectionFailed."""
    collector, said = _Collector(), io.StringIO()
    # Bytecode of rewritten asserts would be written for nothing.
    options = ["--collect-only", "-q", "--no-header", f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(said):
        code = pytest.main([*options, *arguments], plugins=[collector])
    if code is not pytest.ExitCode.OK:
        raise CollectionFailed(said.getvalue())
    return gathered(collector.items)


def gathered(items: Iterable[pytest.Item]) -> list[Proof]:
    """Return the test functions of these cases."""
    found: dict[tuple[str, str], Proof] = {}
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        name = getattr(item, "originalname", item.name)
        function = getattr(item, "function", None)
        proof = found.setdefault(
            (path, name),
            Proof(path=path, name=name, sentence=_first_line(function), level=_level(item, path)),
        )
        proof.cases += 1
        for marker in item.iter_markers("promise"):
            proof.promises.update(_known(marker.args, path, name))
        proof.faults.update(text for marker in item.iter_markers("fault") for text in marker.args)
    return list(found.values())


def _known(names: Iterable[str], path: str, name: str) -> list[str]:
    unknown = sorted(set(names) - set(PROMISES))
    if unknown:
        raise CollectionFailed(f"{path}::{name} names promises that there are not: {', '.join(unknown)}")
    return list(names)


def _first_line(function: object) -> str:
    text = (getattr(function, "__doc__", None) or "").strip()
    return " ".join(text.partition("\n\n")[0].split())


def _level(item: pytest.Item, path: str) -> str:
    for level in reversed(LEVELS):
        if item.get_closest_marker(level) is not None:
            return level
    return "simulation" if path.startswith("tests/simulation/") else "pure"


if __name__ == "__main__":
    sys.stdout.write("\n".join(f"{proof.path}::{proof.name}" for proof in collect()) + "\n")
