"""A rolling restart of the workers themselves: what it costs in time of stopped partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.brokers.scene import ALL, PLAIN, deliver, make_load, prove, stage_behind, stopped_ms
from tests.faults.stage import PARTITIONS, now_ms, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.brokers.conftest import Wired
    from tests.faults.stage import Stage

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.promise("P1", "P2", "P3", "P5")]
_SLOTS = ("a", "b", "c")
_SESSION_MS = 20_000
"""A worker must be back within it; the usual one is longer."""


def _shares(stage: Stage) -> list[int]:
    return [len(stage.opened(process)) for process in stage.processes]


@pytest.mark.fault("three static workers are restarted one after the other, in good order, under load")
async def test_rolling_restart_of_workers(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """In a rolling restart each partition stops once, with its own worker, for less than a session."""
    async with stage_behind(tmp_path, plain=wired.plain, seen_by_workers=wired.plain, prefix=prefix) as stage:
        stage.session_ms = _SESSION_MS
        for slot in _SLOTS:
            stage.hire(slot, instance_id=slot)
        await until(lambda: _shares(stage) == [2, 2, 2], within_s=60, what="each worker has its share")
        load = make_load(words=PLAIN)
        load.plan(300, over_ms=20_000)
        sending = deliver(stage, load, servers=wired.plain)
        began_at = now_ms()
        for slot, process in zip(_SLOTS, list(stage.processes), strict=True):
            owned = stage.opened(process)
            assert await stage.terminate(process) == 0
            heir = stage.hire(slot, instance_id=slot)
            await until(lambda: stage.open_partitions() == ALL, within_s=40, what="all partitions are open")
            assert stage.opened(heir) == owned
        ended_at = now_ms()
        await prove(stage, load, sending)
        drains = [
            line
            for line in stage.lines()
            if line.event == "shard.drained" and began_at <= line.at <= ended_at
        ]
        assert len(drains) == PARTITIONS
        stopped = stopped_ms(stage.lines(), began_at=began_at, ended_at=ended_at)
        stage.note(f"stopped for {sum(stopped.values())} ms in all: {stopped}")
        assert stopped.keys() == ALL
        assert max(stopped.values()) < _SESSION_MS
