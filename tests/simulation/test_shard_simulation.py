"""The real shard in the simulated world: whatever happens, the checker finds every promise kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from contracts.states import State
from contracts.topics import LogicalTopic
from tests.simulation.scenario import Outcome, play
from tests.simulation.show import told
from tests.simulation.small import Mishap, play_small
from tests.simulation.subject import make_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.simulation.process import Ports, Shard
    from worker.ports import JournalRecord, Log, Write

SEEDS = int(os.environ.get("UNBINDING_SIMULATION_SEEDS", "200"))
"""How many scenarios are played; a nightly run takes more."""
STRIDE = {Mishap.KILL: 1, Mishap.FREEZE: 2, Mishap.MOVE: 2}
"""How many steps lie between two tries; a kill is tried at each."""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_promises_are_kept(seed: int) -> None:
    """A random scenario with crashes, moves, faults and jumps ends with every promise kept."""
    outcome = play(seed, make_shard=make_shard)
    assert outcome.good, told(outcome)


def test_scenarios_reach_every_state() -> None:
    """The scenarios together publish every binding state, so that none goes untried."""
    missing = {state.value for state in State}
    for seed in range(60):
        missing -= set(play(seed, make_shard=make_shard).states)
        if not missing:
            return
    assert missing == set()


@pytest.mark.parametrize("mishap", Mishap)
def test_mishap_at_every_step(mishap: Mishap) -> None:
    """A small scenario keeps every promise and its ends, at whichever step its worker has a mishap."""
    step, untouched = 0, False
    while not untouched:
        step += STRIDE[mishap]
        outcome, untouched = play_small(make_shard=make_shard, mishap=mishap, at=step)
        ends = Counter({event.saga_id: event.state for event in outcome.history.states}.values())
        assert outcome.good, told(outcome)
        assert ends == {"unbound": 2, "parked": 1}, f"{mishap} at step {step}\n{told(outcome)}"
    assert step > 200


def fingerprint(outcome: Outcome) -> str:
    """Return a digest of what happened, without what is sealed."""
    course = told(outcome)
    return hashlib.sha256(course.encode()).hexdigest()


def test_a_seed_replays_exactly() -> None:
    """One seed gives one course of events, step by step, also in processes that hash differently."""
    seed = 11
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
            timeout=60,
        )
        assert found.stdout.strip() == expected


# --- the simulation can fail ---------------------------------------------------------------


class BrokenLog:
    """A log that passes everything on, to be broken in one way."""

    def __init__(self, log: Log) -> None:
        self.whole = log
        self.partition = log.partition
        self.fence = log.fence
        self.bounds = log.bounds
        self.fits = log.fits
        self.fetch = log.fetch
        self.close = log.close

    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal."""
        return self.whole.journal()

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it."""
        await self.whole.commit(writes)


class SplittingLog(BrokenLog):
    """Writes the journal in a transaction of its own, after the rest."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Write in two transactions."""
        await self.whole.commit([write for write in writes if write.topic is not LogicalTopic.JOURNAL])
        await self.whole.commit([write for write in writes if write.topic is LogicalTopic.JOURNAL])


class TombstonelessLog(BrokenLog):
    """Never removes a letter."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Leave the tombstones of letters out."""
        kept = [
            write
            for write in writes
            if write.topic is not LogicalTopic.DEAD_LETTERS or write.value is not None
        ]
        await self.whole.commit(kept)


class VerdictlessLog(BrokenLog):
    """Never records a verdict."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Leave verdicts out."""
        await self.whole.commit([write for write in writes if write.topic is not LogicalTopic.VERDICTS])


class ForgetfulLog(BrokenLog):
    """Reads an empty journal."""

    async def _nothing(self) -> AsyncIterator[Sequence[JournalRecord]]:
        for _ in ():
            yield ()

    @override
    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read nothing."""
        return self._nothing()


class EternalLease:
    """A lease that never runs out."""

    def live(self) -> bool:
        """Say that it is live."""
        return True

    async def wait(self) -> None:
        """Return at once."""


def _hasty(ports: Ports) -> Ports:
    return replace(ports, clock=lambda: ports.clock() + (7_000 if ports.chance() < 0.5 else 0))


MUTANTS: dict[str, tuple[str, Callable[[Ports], Ports]]] = {
    "a journal apart from its events": ("P2", lambda ports: replace(ports, log=SplittingLog(ports.log))),
    "a letter that stays": ("P6", lambda ports: replace(ports, log=TombstonelessLog(ports.log))),
    "a verdict that is missing": ("P7", lambda ports: replace(ports, log=VerdictlessLog(ports.log))),
    "a journal that is not read": ("P1", lambda ports: replace(ports, log=ForgetfulLog(ports.log))),
    "a clock that wavers": ("P4", _hasty),
}


@pytest.mark.parametrize(("promise", "mutate"), MUTANTS.values(), ids=MUTANTS.keys())
def test_broken_shard_is_found_out(promise: str, mutate: Callable[[Ports], Ports]) -> None:
    """A shard with one broken port is found out by the promise that it breaks, within a few dozen seeds."""

    def mutant(ports: Ports) -> Shard:
        return make_shard(mutate(ports))

    assert promise in _broken_promises(mutant, until=promise)


def _broken_promises(mutant: Callable[[Ports], Shard], *, until: str) -> set[str]:
    broken: set[str] = set()
    for seed in range(60):
        broken |= {violation.promise for violation in play(seed, make_shard=mutant).violations}
        if until in broken:
            return broken
    return broken


def test_worker_without_lease_is_found_out() -> None:
    """A shard that ignores its lease calls after a thaw, and some step of the freezing shows it."""

    def mutant(ports: Ports) -> Shard:
        return make_shard(replace(ports, lease=EternalLease()))

    for step in range(1, 400):
        outcome, untouched = play_small(make_shard=mutant, mishap=Mishap.FREEZE, at=step)
        if any(violation.promise == "P3" for violation in outcome.violations):
            return
        assert not untouched, "the whole scenario passed without a call of a zombie"
