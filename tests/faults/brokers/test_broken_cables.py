"""Workers behind a cable to their broker that is cut, held, slowed, or loses answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.structs import TopicPartition

from contracts.topics import LogicalTopic, topic_name
from tests.faults.brokers.cable import END_TXN, Way
from tests.faults.brokers.scene import ALL, PLAIN, deliver, make_load, prove, readiness, stage_behind
from tests.faults.judgement import calls_after_waking
from tests.faults.stage import until
from worker.kafka.connection import Connection
from worker.kafka.reader import EARLIEST, LATEST, Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.brokers.cable import Cable
    from tests.faults.brokers.conftest import Wired
    from tests.faults.stage import Process, Stage

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P5")]


async def _busy(stage: Stage, *, calls: int = 30) -> None:
    seen = len(await stage.ledger())

    async def has_called() -> bool:
        return len(await stage.ledger()) >= seen + calls

    await until(has_called, within_s=30, what="the workers are busy")


def _failed(process: Process) -> int:
    return process.count("transaction.failed") + process.count("shard.fenced")


@pytest.mark.long
@pytest.mark.parametrize(
    "hurt",
    [
        pytest.param(lambda cable: cable.swallow(), id="black-hole", marks=pytest.mark.fault("a black hole")),
        pytest.param(
            lambda cable: cable.swallow(Way.OUT),
            id="requests-lost",
            marks=pytest.mark.fault("a one-way partition: nothing reaches the broker"),
        ),
        pytest.param(
            lambda cable: cable.swallow(Way.BACK),
            id="answers-lost",
            marks=pytest.mark.fault("a one-way partition: the broker does what it is told, unheard"),
        ),
        pytest.param(
            lambda cable: cable.drip(per_second=40), id="drip", marks=pytest.mark.fault("a slow drip")
        ),
    ],
)
async def test_away_for_long(
    wired: Wired, prefix: str, tmp_path: Path, hurt: Callable[[Cable], None]
) -> None:
    """Cut off for longer than its session a worker is not ready and says why, and goes on when it is back."""
    async with stage_behind(
        tmp_path, plain=wired.plain, seen_by_workers=wired.cable.address, prefix=prefix
    ) as stage:
        worker = stage.hire("a")
        await stage.settled()
        load = make_load()
        load.plan(150, over_ms=8_000)
        sending = deliver(stage, load, servers=wired.plain)
        await _busy(stage)
        hurt(wired.cable)
        stage.note("the cable is hurt")

        async def says_so() -> bool:
            status, troubles = await readiness(stage, worker)
            return status == 503 and bool(troubles)

        await until(says_so, within_s=20, what="it is not ready, and says why", look_s=0.3)
        await until(lambda: _stopped(worker) == ALL, within_s=40, what="no shard commits any more")
        wired.cable.mend()
        wired.cable.reset()  # what is on its way is not waited for
        stage.note("the cable is whole")
        await prove(stage, load, sending)

        async def well() -> bool:
            return await readiness(stage, worker) == (200, [])

        await until(well, within_s=20, what="it is ready", look_s=0.3)


def _stopped(process: Process) -> frozenset[int]:
    return frozenset(
        number
        for line in process.lines()
        if line.event in {"transaction.failed", "lease.lost"}
        for number in line.partitions
    )


@pytest.mark.long
@pytest.mark.fault("connections reset, half-closed and forgotten under load, again and again")
async def test_connections_break_all_the_time(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """However often connections break, the worker makes them anew, and no partition stays closed."""
    async with stage_behind(
        tmp_path, plain=wired.plain, seen_by_workers=wired.cable.address, prefix=prefix
    ) as stage:
        stage.hire("a")
        stage.hire("b")
        await stage.settled()
        load = make_load()
        load.plan(300, over_ms=15_000)
        sending = deliver(stage, load, servers=wired.plain)
        for hurt in [*([wired.cable.reset, wired.cable.half_close] * 5), wired.cable.forget]:
            await _busy(stage, calls=8)
            hurt()
            stage.note(f"{hurt.__name__} of {wired.cable.connections} connections")
        await prove(stage, load, sending)
        assert stage.open_partitions() == ALL
        assert len(stage.running) == 2


@pytest.mark.fault("the end of each transaction is done, and its answer lost")
async def test_lost_answers_to_commits(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """A transaction that was committed, and of which the worker never heard, is neither lost nor repeated."""
    async with stage_behind(
        tmp_path, plain=wired.plain, seen_by_workers=wired.cable.address, prefix=prefix
    ) as stage:
        worker = stage.hire("a")
        await stage.settled()
        load = make_load()
        load.plan(120, over_ms=6_000)
        sending = deliver(stage, load, servers=wired.plain)
        await _busy(stage)
        wired.cable.lose_answers(END_TXN)
        await until(lambda: wired.cable.held[END_TXN] >= 6, within_s=20, what="answers were lost")
        wired.cable.mend()
        await prove(stage, load, sending)
        assert worker.child.running


@pytest.mark.long
@pytest.mark.fault("SIGSTOP inside a transaction, until the coordinator has aborted it")
async def test_frozen_inside_a_transaction(wired: Wired, prefix: str, tmp_path: Path) -> None:
    """A worker frozen with all sent and nothing committed finds it aborted, and does it over again."""
    async with stage_behind(
        tmp_path, plain=wired.plain, seen_by_workers=wired.cable.address, prefix=prefix
    ) as stage:
        frozen = stage.hire("a")
        await stage.settled()
        load = make_load(words=PLAIN)
        load.plan(150, over_ms=8_000)
        sending = deliver(stage, load, servers=wired.plain)
        await _busy(stage)
        before = wired.cable.held[END_TXN]
        wired.cable.hold(END_TXN)
        await until(
            lambda: wired.cable.held[END_TXN] > before, within_s=20, what="a transaction is at its end"
        )
        freeze = stage.freeze(frozen)
        states = [TopicPartition(topic_name(LogicalTopic.STATES, prefix=prefix), number) for number in ALL]
        reader = Reader(Connection(bootstrap_servers=wired.plain), role="looking")
        assert await _unstable(reader, states)

        async def aborted() -> bool:
            return not await _unstable(reader, states)

        await until(aborted, within_s=30, what="the coordinator has aborted it", look_s=0.3)
        stage.thaw(frozen, freeze)
        wired.cable.mend()
        await prove(stage, load, sending)
        hidden = await _records(reader, states, committed=False) - await _records(
            reader, states, committed=True
        )
        await reader.close()
        assert hidden > 0
        assert _failed(frozen) > 0
        assert len(calls_after_waking(freeze, ledger=await stage.ledger(), lines=stage.lines())) <= 1


async def _unstable(reader: Reader, partitions: list[TopicPartition]) -> bool:
    """Tell whether a transaction is open in one of these partitions."""
    ends = await reader.offsets(partitions, at=LATEST)
    found = await reader.fetch_all(ends, committed=True, wait_ms=10, partition_bytes=1_000)
    return any(
        fetched.error is not None or fetched.last_stable_offset < fetched.high_watermark
        for fetched in found.values()
    )


async def _records(reader: Reader, partitions: list[TopicPartition], *, committed: bool) -> int:
    positions = await reader.offsets(partitions, at=EARLIEST)
    ends = await reader.offsets(partitions, at=LATEST)
    count = 0
    while behind := {tp: at for tp, at in positions.items() if at < ends[tp]}:
        found = await reader.fetch_all(behind, committed=committed, wait_ms=10, partition_bytes=1_000_000)
        for tp, fetched in found.items():
            positions[tp] = fetched.position
            count += len(fetched.records)
    return count
