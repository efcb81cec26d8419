"""The simulation can fail: a shard that breaks a promise is found out, and its story can be made small."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import LEASELESS, MUTANTS, Mutant
from tests.simulation.scenario import play
from tests.simulation.show import told
from tests.simulation.shrink import shrink
from tests.simulation.small import SMALL, Mishap, play_small
from tests.simulation.subject import make_shard

TRIES = 80


def found_out(mutant: Mutant) -> int | None:
    """Return the first seed that shows what the mutant breaks."""
    for seed in range(TRIES):
        if mutant.promise in play(seed, make_shard=mutant.make_shard).broken:
            return seed
    return None


def test_there_is_a_mutant_for_each_promise() -> None:
    """Each promise that a history can show broken has a shard that breaks it."""
    assert {mutant.promise for mutant in MUTANTS.values()} == {f"P{number}" for number in range(1, 9)}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_broken_shard_is_found_out(mutant: Mutant) -> None:
    """A shard with one broken port is found out by the promise that it breaks, within a few dozen seeds."""
    assert found_out(mutant) is not None


def test_worker_without_lease_is_found_out() -> None:
    """A shard that ignores its lease calls after a thaw, and some step of the freezing shows it."""
    for step in range(1, 400):
        outcome, untouched = play_small(
            SMALL["revoke"], make_shard=LEASELESS.make_shard, mishap=Mishap.FREEZE, at=step
        )
        if LEASELESS.promise in outcome.broken:
            return
        assert not untouched, "the whole scenario passed without a call of a zombie"


def test_story_is_made_small() -> None:
    """Of a story that breaks a promise only the deeds are left that it takes, and it still breaks it."""
    mutant = MUTANTS["a letter that stays"]
    seed = found_out(mutant)
    assert seed is not None
    shrunk = shrink(seed, make_shard=mutant.make_shard)
    assert shrunk.outcome.broken & play(seed, make_shard=mutant.make_shard).broken
    assert 0 < len(shrunk.left) <= 4, shrunk.left
    for deed in shrunk.left:
        without = shrunk.without | {deed}
        smaller = play(seed, make_shard=mutant.make_shard, without=without)
        assert not smaller.broken & shrunk.outcome.broken, f"{deed} is not needed"
    history = told(shrunk.outcome, without=shrunk.without)
    assert ">>>>> P6" in history
    assert "left out:" in history


def test_good_story_is_left_whole() -> None:
    """A story that keeps every promise has nothing to leave out."""
    shrunk = shrink(0, make_shard=make_shard)
    assert shrunk.outcome.good
    assert (shrunk.without, shrunk.tries) == (frozenset(), 1)
