"""The one broker is paused, killed or not there yet; quotas. What workers say meanwhile, and how often."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.brokers import admin
from tests.faults.brokers.scene import (
    ALL,
    deliver,
    lines_between,
    make_load,
    prove,
    readiness,
    stage_behind,
)
from tests.faults.stage import PARTITIONS, now_ms, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.brokers.conftest import Wired
    from tests.faults.stage import Process, Stage

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P11")]

_AWAY_MS: Final = 15_000
"""Longer than the session, a request, a transaction and a commit may take."""
_LINES: Final = 300
"""At most so many lines a minute from a worker of six partitions whose broker is away."""


async def _not_ready(stage: Stage, process: Process) -> bool:
    status, troubles = await readiness(stage, process)
    return status == 503 and bool(troubles)


async def _ready(stage: Stage, process: Process) -> bool:
    return await readiness(stage, process) == (200, [])


@pytest.mark.fault("the broker is paused beyond all time-outs")
async def test_paused_for_long(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """A broker that stands still for longer than any limit costs time, and some lines of log."""
    async with stage_behind(tmp_path, plain=wired.plain, seen_by_workers=wired.plain, prefix=prefix) as stage:
        worker = stage.hire("a")
        await stage.settled()
        load = make_load()
        load.plan(150, over_ms=8_000)
        sending = deliver(stage, load, servers=wired.plain)

        async def busy() -> bool:
            return len(await stage.ledger()) > 30

        await until(busy, within_s=30, what="the worker is busy")
        began_at = now_ms()
        wired.kafka.pause()
        try:
            await until(lambda: _not_ready(stage, worker), within_s=30, what="it is not ready", look_s=0.3)
            await until(lambda: now_ms() - began_at > _AWAY_MS, within_s=30, what="all limits have passed")
        finally:
            wired.kafka.resume()
        ended_at = now_ms()
        await prove(stage, load, sending)
        await until(lambda: _ready(stage, worker), within_s=20, what="it is ready", look_s=0.3)
        minutes = (ended_at - began_at) / 60_000
        assert len(lines_between(worker, began_at, ended_at)) / minutes <= _LINES


@pytest.mark.long
@pytest.mark.fault("the broker is killed three times in a row")
async def test_killed_again_and_again(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """A broker that is killed as soon as work goes on, three times, loses nothing."""
    async with stage_behind(tmp_path, plain=wired.plain, seen_by_workers=wired.plain, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(200, over_ms=12_000)
        sending = deliver(stage, load, servers=wired.plain)
        for _ in range(3):
            seen = len(await stage.ledger())

            async def goes_on(seen: int = seen) -> bool:
                return len(await stage.ledger()) > seen + 15

            await until(goes_on, within_s=60, what="work goes on")
            wired.kafka.kill()
            await wired.kafka.start()
        await prove(stage, load, sending)
        assert len(stage.running) == 2


@pytest.mark.long
@pytest.mark.fault("the broker is not there when the worker starts")
async def test_not_there_at_the_start(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """A worker that finds no broker waits, says which address does not answer, and works when it does."""
    async with stage_behind(
        tmp_path, plain=wired.plain, seen_by_workers=wired.cable.address, prefix=prefix
    ) as stage:
        wired.cable.cut()
        began_at = now_ms()
        worker = stage.hire("a")

        async def says_so() -> bool:
            status, troubles = await readiness(stage, worker)
            return status == 503 and any(wired.cable.address in trouble for trouble in troubles)

        await until(says_so, within_s=60, what="it says which address does not answer", look_s=0.3)
        await until(lambda: now_ms() - began_at > _AWAY_MS, within_s=30, what="it has waited for a while")
        ended_at = now_ms()
        assert worker.child.running
        wired.cable.mend()
        await stage.settled()
        load = make_load()
        load.plan(30, over_ms=500)
        await prove(stage, load, deliver(stage, load, servers=wired.plain))
        await until(lambda: _ready(stage, worker), within_s=20, what="it is ready", look_s=0.3)
        minutes = (ended_at - began_at) / 60_000
        assert len(lines_between(worker, began_at, ended_at)) / minutes <= _LINES


@pytest.mark.long
@pytest.mark.fault("the broker throttles the worker's producers and readers by quota")
async def test_throttled(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """Over its quotas a worker is slower: nothing is lost, and no partition changes hands."""
    async with stage_behind(tmp_path, plain=wired.plain, seen_by_workers=wired.plain, prefix=prefix) as stage:
        app = f"{prefix}app"
        rates = {"producer_byte_rate": 4_000.0, "consumer_byte_rate": 4_000.0, "request_percentage": 5.0}
        roles = ["requests", "inputs", "ask", "holds", "member"]
        for role in [*roles, *(f"{app}-{number}" for number in range(PARTITIONS))]:
            await admin.set_quota(wired.plain, client_id=f"{app}-{role}", rates=rates)
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(150, over_ms=6_000)
        sending = deliver(stage, load, servers=wired.plain)

        async def held_back(role: str) -> bool:
            return await admin.throttled_ms(wired.plain, client_id=f"{app}-{role}") > 0

        for role in ("requests", f"{app}-0"):
            await until(partial(held_back, role), within_s=40, what=f"{role} is throttled", look_s=0.1)
        await prove(stage, load, sending)
        assert stage.open_partitions() == ALL
        assert [line for line in stage.lines() if line.event == "shard.fenced"] == []
