"""Which fault strikes which worker when: a schedule from a seed, and its performance on a stage."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

from tests.faults.stage import PARTITIONS, until

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.faults.stage import Process, Stage

_FIRST_MS: Final = (1_500, 5_000)
_GAP_MS: Final = (2_500, 7_000)
_AWAY_MS: Final = (0, 0, 500, 3_000)
_NAP_MS: Final = (200, 3_000)
_MOVE_S: Final = 25.0
WORKERS: Final = ("a", "b", "c")
"""The workers that are there from the beginning."""
EXTRA: Final = "d"
"""The worker that comes and goes."""


class Kind(StrEnum):
    """What is done to a worker."""

    KILL = "kill"
    """SIGKILL; it starts anew after a while."""
    TERM = "term"
    """SIGTERM; it starts anew after a while."""
    STOP = "stop"
    """SIGSTOP until its partitions have moved, then SIGCONT."""
    NAP = "nap"
    """SIGSTOP for less than a session, then SIGCONT."""
    SCALE = "scale"
    """One more worker comes, and goes in good order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `after_ms` counts from the end of the fault before, on this worker."""

    slot: str
    kind: Kind
    after_ms: int
    away_ms: int
    """How long it is away, or stays if it is an extra one."""


def plan(seed: int, *, kinds: Collection[Kind], over_ms: int) -> tuple[Fault, ...]:
    """Plan faults for each worker, about as many as fit into the time. Pure."""
    random = Random(seed)  # noqa: S311 - a seed, no secret
    faults: list[Fault] = []
    hurting = sorted(set(kinds) - {Kind.SCALE})
    lanes = [(slot, hurting) for slot in WORKERS if hurting]
    lanes += [(EXTRA, [Kind.SCALE])] if Kind.SCALE in kinds else []
    for slot, choices in lanes:
        at_ms = after_ms = random.randint(*_FIRST_MS)
        while at_ms < over_ms:
            kind = random.choice(choices)
            away_ms = random.choice(_AWAY_MS)
            if kind is Kind.SCALE:
                away_ms = random.randint(2_000, 6_000)
            elif kind is Kind.NAP:
                away_ms = random.randint(*_NAP_MS)
            faults.append(Fault(slot=slot, kind=kind, after_ms=after_ms, away_ms=away_ms))
            after_ms = random.randint(*_GAP_MS)
            at_ms += after_ms + away_ms + (10_000 if kind is Kind.STOP else 2_000)
    return tuple(faults)


class Performance:
    """Performs a schedule; each worker suffers its own faults one after the other."""

    def __init__(self, stage: Stage, *, static: bool) -> None:
        self._stage = stage
        self._static = static
        self._staff: dict[str, Process] = {}
        self._freezing = asyncio.Lock()

    def hire(self, slot: str) -> Process:
        """Start a worker, the first time or anew."""
        process = self._stage.hire(slot, instance_id=f"worker-{slot}" if self._static else None)
        self._staff[slot] = process
        return process

    async def perform(self, faults: Sequence[Fault]) -> None:
        """Let all faults strike; at the end the workers of the beginning run."""
        async with asyncio.TaskGroup() as group:
            for slot in (*WORKERS, EXTRA):
                mine = [fault for fault in faults if fault.slot == slot]
                if mine:
                    group.create_task(self._suffer(mine))

    async def _suffer(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(fault.after_ms / 1000)
            match fault.kind:
                case Kind.KILL:
                    self._stage.kill(self._staff[fault.slot])
                    await asyncio.sleep(fault.away_ms / 1000)
                    self.hire(fault.slot)
                case Kind.TERM:
                    await self._end_well(self._staff[fault.slot])
                    await asyncio.sleep(fault.away_ms / 1000)
                    self.hire(fault.slot)
                case Kind.STOP:
                    # One at a time: while all are frozen no partition moves.
                    async with self._freezing:
                        await self._freeze(self._staff[fault.slot])
                case Kind.NAP:
                    freeze = self._stage.freeze(self._staff[fault.slot], is_nap=True)
                    await asyncio.sleep(fault.away_ms / 1000)
                    self._stage.thaw(self._staff[fault.slot], freeze)
                case Kind.SCALE:
                    extra = self.hire(fault.slot)
                    await asyncio.sleep(fault.away_ms / 1000)
                    await self._end_well(extra)

    async def _end_well(self, process: Process) -> None:
        code = await self._stage.terminate(process)
        # Before it has started there is nothing to bring to an end, and nobody to hear the signal.
        heard = process.count("worker.started") > 0
        if code != 0 and (heard or code != -signal.SIGTERM):
            raise AssertionError(f"{process.name} ended with code {code} on SIGTERM:\n{process.child.told()}")

    async def _freeze(self, process: Process) -> None:
        """Stop a worker until others have opened all partitions, or for as long as that may take."""
        stage = self._stage
        freeze = stage.freeze(process)
        session_ends = asyncio.get_running_loop().time() + stage.session_ms / 1000

        def moved() -> bool:
            is_late = asyncio.get_running_loop().time() > session_ends
            return is_late and stage.open_partitions(without=process) == frozenset(range(PARTITIONS))

        try:
            await until(moved, within_s=_MOVE_S, what="the partitions have moved")
        except TimeoutError:
            # The others were hurt meanwhile: it goes on all the same, long after its session.
            stage.note(f"the partitions of {process.name} have not all moved")
        stage.thaw(process, freeze)
