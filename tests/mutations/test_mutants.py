from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.mutations.catalogue import MUTANTS
from tests.mutations.laboratory import ROOT, examine
from tests.mutations.mutant import Edit, EditMisses, Mutant
from tests.proof.promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HANDS = os.cpu_count() or 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_follows_the_code(mutant: Mutant, tmp_path: Path) -> None:
    """Each mutant's text stands in the code exactly once, and what it makes of it is Python."""
    for edit in mutant.edits:
        copy = tmp_path / edit.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(ROOT / edit.path, copy)
        edit.apply(tmp_path)
    for edit in mutant.edits:
        compile((tmp_path / edit.path).read_text(encoding="utf-8"), edit.path, "exec")


def test_mutants_are_many_and_named() -> None:
    """There are at least 25 mutants with names of their own, some for each promise, each with its tests."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    assert {mutant.promise for mutant in MUTANTS} == set(PROMISES)
    assert [mutant.name for mutant in MUTANTS if not mutant.caught_by] == []


def test_edit_that_misses_says_so(tmp_path: Path) -> None:
    """An edit whose text is gone from its file is refused, with the file and the text."""
    (tmp_path / "a.py").write_text("one = 1\none = 1\n")
    with pytest.raises(EditMisses, match=r"a\.py holds 2 times, not once: 'one = 1'"):
        Edit("a.py", "one = 1", "").apply(tmp_path)


@pytest.mark.mutants
def test_mutants_are_caught() -> None:
    """Each mutant that needs no real broker is caught by every test that is named for it."""
    assert _survivors([mutant for mutant in MUTANTS if not mutant.real_broker]) == []


@pytest.mark.mutants
def test_sound_code_is_not_caught() -> None:
    """The same tests pass on code that is changed without a change of meaning."""
    harmless = Mutant(
        name="harmless",
        promise="P1",
        breaks="nothing",
        edits=(
            Edit(
                "worker/shard/lanes.py",
                "if lane is None or lane.active is not None:",
                "if lane is None or not lane.active is None:",
            ),
        ),
        caught_by=tuple(
            name for mutant in MUTANTS for name in mutant.caught_by[:1] if not mutant.real_broker
        )[:3],
    )
    (finding,) = examine([harmless], hands=1)
    assert finding.survived == harmless.caught_by, finding.output


def _survivors(mutants: Sequence[Mutant]) -> list[str]:
    return [
        f"{finding.mutant.name} survived {', '.join(finding.survived)}\n{finding.output}"
        for finding in examine(mutants, hands=HANDS)
        if finding.survived
    ]
