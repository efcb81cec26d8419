"""Single faults, each at a chosen moment, on real Kafka with real workers."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.judgement import calls_after_waking, doubled_calls
from tests.faults.load import Load, send
from tests.faults.rounds import Course, Outcome, at_rest, conclude
from tests.faults.stage import PARTITIONS, Process, Stage, now_ms, open_stage, until
from worker.sandbox.payment import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.faults.payment_side import LedgerCall
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P5")]
PLAIN = {"allow": 1}
"""Words of a payment side that obeys: each call is made once."""


def make_load(words: dict[str, int] | None = None) -> Load:
    """Return a load without records."""
    load = Load(random=Random(7), partitions=PARTITIONS, begins_at=now_ms())  # noqa: S311 - a seed, no secret
    if words is not None:
        load.words = words
    return load


async def deliver(stage: Stage, load: Load) -> None:
    """Send all records of a load, each when its time has come."""
    servers = stage.connection.bootstrap_servers
    assert await send(load.planned, bootstrap_servers=servers, topic=stage.requests) == len(load.planned)


async def prove(stage: Stage, load: Load) -> None:
    """Wait for rest, and have everything judged."""
    await at_rest(stage)
    outcome = Outcome(
        course=Course(seed=7, kinds=frozenset()), directory=stage.directory, violations=[], sent=0
    )
    await conclude(stage, load, outcome)
    assert outcome.good, outcome.told()


def of_token(ledger: list[LedgerCall], token: str) -> list[tuple[str, str | None]]:
    """Return the calls with a token: step and ending."""
    return [(call.step, call.ended) for call in ledger if call.fingerprint == fingerprint(token)]


async def test_killed_with_calls_in_flight(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """After a kill the very step that was under way is called again: no consult again, no event again."""
    servers = broker.bootstrap_servers
    async with open_stage(tmp_path, bootstrap_servers=servers, prefix=prefix, call_ms=8_000) as stage:
        worker = stage.hire("a", instance_id="worker-a")
        await stage.settled()
        load = make_load()
        asking = load.add("consult-slow6000", slow_ms=0)
        cancelling = load.add("cancel-slow6000", slow_ms=0)
        await deliver(stage, load)

        async def both_in_flight() -> bool:
            ledger = await stage.ledger()
            return ("consult", None) in of_token(ledger, asking) and (
                "cancel_token",
                None,
            ) in of_token(ledger, cancelling)

        await until(both_in_flight, within_s=5, what="a consult and a cancel are in flight")
        stage.kill(worker)
        stage.hire("a", instance_id="worker-a")
        await prove(stage, load)
        ledger = await stage.ledger()
        assert of_token(ledger, asking) == [
            ("consult", "client_left"),
            ("consult", "answered"),
            ("cancel_token", "answered"),
        ]
        assert of_token(ledger, cancelling) == [
            ("consult", "answered"),
            ("cancel_token", "client_left"),
            ("cancel_token", "answered"),
        ]


async def test_frozen_worker_begins_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """A worker frozen with calls in line until its partitions have moved begins none of them as it wakes."""
    everything = frozenset(range(PARTITIONS))
    async with open_stage(
        tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix, call_ms=5_000, in_flight=4
    ) as stage:
        frozen, other = stage.hire("a"), stage.hire("b")
        await until(lambda: _shared(stage, each=3), within_s=60, what="the workers share the partitions")
        load = make_load()
        for _ in range(60):
            load.add("allow", slow_ms=1_000)
        await deliver(stage, load)
        await until(partial(_has_line, stage, frozen), within_s=20, what="it has calls in line")
        freeze = stage.freeze(frozen)
        await until(lambda: _assigned(other) == everything, within_s=30, what="the partitions move")
        await until(
            lambda: stage.open_partitions(without=frozen) == everything, within_s=30, what="they are open"
        )
        stage.thaw(frozen, freeze)
        await prove(stage, load)
        # One call may have stood between its gate and the wire, where the signal struck.
        assert len(calls_after_waking(freeze, ledger=await stage.ledger(), lines=stage.lines())) <= 1


async def _has_line(stage: Stage, process: Process) -> bool:
    """Tell whether a worker has as many calls of one API in flight as it may, and has had others before."""
    calls = [call for call in await stage.ledger() if call.worker == process.name]
    under_way = [call.step for call in calls if call.ended is None]
    full = any(under_way.count(step) >= stage.in_flight for step in set(under_way))
    return full and len(calls) > 2 * stage.in_flight


async def test_clean_end_doubles_no_call(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """On SIGTERM calls in flight are finished, the others are made elsewhere, and none is made twice."""
    async with open_stage(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as stage:
        staff = {slot: stage.hire(slot) for slot in ("a", "b")}
        await stage.settled()
        load = make_load(PLAIN)
        load.plan(300, over_ms=9_000)
        sending = asyncio.create_task(deliver(stage, load))
        for slot in ("a", "b"):
            await until(partial(_calls, stage, staff[slot]), within_s=20, what="it has calls in flight")
            assert await stage.terminate(staff[slot]) == 0
            staff[slot] = stage.hire(slot)
            await stage.settled()
        await sending
        await prove(stage, load)
        ledger = await stage.ledger()
        assert doubled_calls(ledger) == []
        assert {call.ended for call in ledger} == {"answered"}


async def _calls(stage: Stage, process: Process) -> bool:
    """Tell whether a process has calls in flight now."""
    return any(call.ended is None and call.worker == process.name for call in await stage.ledger())


async def test_rolling_restart_moves_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Workers with instance ids are restarted one after the other: no other partition is touched."""
    servers = broker.bootstrap_servers
    async with open_stage(tmp_path, bootstrap_servers=servers, prefix=prefix, session_ms=30_000) as stage:
        staff = {slot: stage.hire(slot, instance_id=f"worker-{slot}") for slot in ("a", "b", "c")}
        await until(lambda: _shared(stage, each=2), within_s=60, what="each worker has two partitions")
        had = {slot: _assigned(process) for slot, process in staff.items()}
        before = {process.name: process.count("partitions.revoked") for process in staff.values()}
        load = make_load(PLAIN)
        load.plan(400, over_ms=15_000)
        sending = asyncio.create_task(deliver(stage, load))
        for slot in ("a", "b", "c"):
            assert await stage.terminate(staff[slot]) == 0
            staff[slot] = stage.hire(slot, instance_id=f"worker-{slot}")
            await stage.settled()
        await sending
        await prove(stage, load)
        assert doubled_calls(await stage.ledger()) == []
        assert {slot: _assigned(process) for slot, process in staff.items()} == had
        moved = {
            process.name: process.count("partitions.revoked") - before.get(process.name, 0)
            for process in stage.processes
        }
        assert set(moved.values()) == {0}, moved


def _shared(stage: Stage, *, each: int) -> bool:
    """Tell whether each worker has so many partitions, all open."""
    fair = all(len(_assigned(process)) == each for process in stage.running)
    return fair and stage.open_partitions() == frozenset(range(PARTITIONS))


def _assigned(process: Process) -> frozenset[int]:
    """Return what the group has given to a worker last."""
    given = [line.partitions for line in process.lines() if line.event == "partitions.assigned"]
    return given[-1] if given else frozenset()


async def test_twins(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Of two processes with one instance id one ends, with an error that names it, and the other goes on."""
    async with open_stage(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as stage:
        stage.hire("a", instance_id="worker-x")
        await stage.settled()
        load = make_load(PLAIN)
        load.plan(150, over_ms=8_000)
        sending = asyncio.create_task(deliver(stage, load))
        stage.hire("b", instance_id="worker-x")
        await until(lambda: len(stage.running) == 1, within_s=60, what="one of the twins has ended")
        (ended,) = [process for process in stage.processes if not process.child.running]
        assert ended.child.code == 1
        (said,) = [
            line for line in ended.child.errors.read_text().splitlines() if line.startswith("unbinding: ")
        ]
        assert "instance_id 'worker-x'" in said
        await sending
        await prove(stage, load)
        assert len(stage.running) == 1


async def test_broker_killed(private_broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """After the broker was killed under load and started again, everything goes on without a person."""
    servers = private_broker.bootstrap_servers
    async with open_stage(tmp_path, bootstrap_servers=servers, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(250, over_ms=10_000)
        sending = asyncio.create_task(deliver(stage, load))

        async def busy() -> bool:
            return len(await stage.ledger()) > 60

        await until(busy, within_s=20, what="the workers are busy")
        private_broker.kill()
        stage.note("the broker is killed")
        await private_broker.restart()
        stage.note("the broker serves again")
        await sending
        await prove(stage, load)
        assert len(stage.running) == 2
