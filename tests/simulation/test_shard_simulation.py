"""The real shard in the simulated world: whatever happens, the checker finds every promise kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.campaign import Tally, play_all
from tests.simulation.coverage import EXPECTED, UNREACHABLE, missing
from tests.simulation.scenario import Outcome, play
from tests.simulation.show import told
from tests.simulation.subject import make_shard

SEEDS = int(os.environ.get("UNBINDING_SIMULATION_SEEDS", "1500"))
"""How many scenarios are played; `make simulate` plays more."""
MORE = 250
"""How many more are played at a time where few were asked for, until everything on the list was reached."""
MOST = 6_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Play all seeds, in as many processes as there are cores."""
    return play_all(0, SEEDS, progress=lambda _: None)


@pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")
@pytest.mark.fault(
    "simulated, thousands of seeds: kills, freezes, cuts, moves, zombies, lost answers, commits of unknown "
    "fate, refused writes, foreign transactions, compaction, retention, clock jumps and skew, holds, stopped "
    "lines, lost keys, junk"
)
def test_promises_are_kept(tally: Tally) -> None:
    """Random scenarios with crashes, moves, faults and jumps end with every promise kept."""
    histories = "\n\n".join(tally.shown.values())
    assert not tally.bad, f"{histories}\n{tally.summary()}"
    assert tally.seeds == SEEDS


@pytest.mark.promise("P10")
def test_scenarios_reach_everything(tally: Tally) -> None:
    """The scenarios together reach all that is on the list: states, results, reasons, refusals, deeds."""
    found, played = Counter(tally.reached), SEEDS
    while missing(found) and played < MOST:
        more = play_all(played, MORE, progress=lambda _: None)
        assert not more.bad, more.summary()
        found += more.reached
        played += MORE
    assert missing(found) == []
    assert set(UNREACHABLE) <= EXPECTED
    assert not set(UNREACHABLE) & set(found), "it is reachable after all"


def fingerprint(outcome: Outcome) -> str:
    """Return a digest of what happened, without what is sealed."""
    return hashlib.sha256(told(outcome).encode()).hexdigest()


@pytest.mark.parametrize("seed", [11, 27])
def test_a_seed_replays_exactly(seed: int) -> None:
    """One seed gives one course of events, step by step, also in processes that hash differently."""
    expected = fingerprint(play(seed, make_shard=make_shard))
    assert fingerprint(play(seed, make_shard=make_shard)) == expected
    program = (
        "from tests.simulation.test_shard_simulation import fingerprint, make_shard, play;"
        f"print(fingerprint(play({seed}, make_shard=make_shard)))"
    )
    for hash_seed in ("1", "2"):
        found = subprocess.run(  # noqa: S603 - this very interpreter, with a program of ours
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert found.stdout.strip() == expected


def test_deeds_left_out_leave_the_others_as_they_are() -> None:
    """A scenario without some of its deeds does the others with the same chance, and keeps every promise."""
    whole = play(5, make_shard=make_shard)
    without = frozenset(whole.deeds[::2])
    part = play(5, make_shard=make_shard, without=without)
    assert part.good, told(part)
    assert part.deeds == whole.deeds
    assert len(part.history.requests) < len(whole.history.requests)
