"""Tries mutants on copies of the repository: the tests that name them must fail there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.mutations.mutant import Mutant

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("contracts", "worker", "tests", "docs", "deploy", "pyproject.toml", "docker-compose.yml")
BOUND_S: Final = 90.0
REAL_BROKER_BOUND_S: Final = 300.0
"""A mutant that hangs its tests is caught, too: by the tests' own bounds, or by this one."""
_TESTS_FAILED: Final = 1
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one mutant."""

    mutant: Mutant
    failed: tuple[str, ...]
    """The named tests that failed; a name stands for all its cases."""
    seconds: float
    output: str

    @property
    def survived(self) -> tuple[str, ...]:
        """The named tests that did not notice."""
        return tuple(name for name in self.mutant.caught_by if name not in self.failed)


def examine(mutants: Sequence[Mutant], *, hands: int) -> Iterator[Finding]:
    """Try mutants, `hands` at a time, and yield what became of each, in their order."""
    with copies(hands) as free, ThreadPoolExecutor(hands) as pool:
        yield from pool.map(lambda mutant: _examine(mutant, free), mutants)


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Give copies of the repository, to be changed one mutant at a time."""
    free: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for number in range(count):
            copy = Path(folder) / str(number)
            copy.mkdir()
            for name in COPIED:
                source = ROOT / name
                if source.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                    shutil.copytree(source, copy / name, ignore=ignored)
                else:
                    shutil.copy(source, copy / name)
            free.put(copy)
        yield free


def _examine(mutant: Mutant, free: SimpleQueue[Path]) -> Finding:
    copy = free.get()
    began = time.monotonic()
    kept = {edit.path: (copy / edit.path).read_bytes() for edit in mutant.edits}
    try:
        for edit in mutant.edits:
            edit.apply(copy)
        failed, output = _try(mutant, copy)
    finally:
        for path, content in kept.items():
            (copy / path).write_bytes(content)
        free.put(copy)
    return Finding(mutant=mutant, failed=failed, seconds=time.monotonic() - began, output=output)


def _try(mutant: Mutant, copy: Path) -> tuple[tuple[str, ...], str]:
    """Return those of the mutant's tests that failed, and what pytest said."""
    # No cases beyond the first failure of each name: a mutant is caught or not.
    failed, said = [], []
    for name in mutant.caught_by:
        bound_s = REAL_BROKER_BOUND_S if mutant.real_broker else BOUND_S
        code, output = _pytest(name, copy, bound_s=bound_s)
        said.append(output)
        if code is None or (code == _TESTS_FAILED and _FAILED.search(output)):
            failed.append(name)
    return tuple(failed), "\n".join(said)


def _pytest(name: str, copy: Path, *, bound_s: float) -> tuple[int | None, str]:
    """Run one test in the copy; no exit code means that it hung."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", name]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter, with tests of ours
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=bound_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"{name}: not done within {bound_s:.0f} s\n"
    return done.returncode, done.stdout + done.stderr
