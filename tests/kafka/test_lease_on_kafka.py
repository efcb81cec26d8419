"""Leases on Apache Kafka, with a broker and a worker that stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time_ns
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from tests.kafka.bench import KafkaBench, until
from tests.kafka.fake_shard import FakeShard
from tests.kafka.recorder import Recorder
from worker.kafka.pump import Pump, PumpSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.kafka.connection import Connection
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P3")]
SESSION_MS = 6_000
"""The shortest that brokers allow by default."""


def now_ms() -> int:
    """Return the wall clock, which two processes share."""
    return time_ns() // 1_000_000


class TimedShard(FakeShard):
    """A shard that notes when it was asked to drain."""

    drained_at: int | None = None

    @override
    async def drain(self) -> None:
        """Note the time."""
        self.drained_at = now_ms()
        await super().drain()


@asynccontextmanager
async def running(bench: KafkaBench, connection: Connection) -> AsyncIterator[Pump[TimedShard]]:
    """Run a pump with this connection, and stop it."""
    pump: Pump[TimedShard] = Pump(
        connection=connection,
        log_settings=bench.settings(),
        settings=PumpSettings(),
        make_shard=lambda partition, log, feed, lease: TimedShard(
            partition, log, feed, lease, start_at=lambda _: 0
        ),
        position_of=lambda shard: shard.position,
        observer=Recorder(),
    )
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await pump.stop()


def short_session(bench: KafkaBench) -> Connection:
    """Return a connection whose session is short."""
    return replace(bench.connection, session_timeout_ms=SESSION_MS, heartbeat_interval_ms=1_000)


async def test_dies_while_the_broker_does_not_answer(private_broker: LocalKafka, prefix: str) -> None:
    """While the broker does not answer the lease dies within its share of the session, then lives again."""
    bench = KafkaBench(private_broker.bootstrap_servers, prefix)
    await bench.create()
    async with running(bench, short_session(bench)) as pump:
        await until(lambda: len(pump.shards) == 2 and pump.shards[0].lease.live())
        private_broker.pause()
        try:
            stopped_at = now_ms()
            await until(lambda: not pump.shards[0].lease.live())
            assert now_ms() - stopped_at < SESSION_MS / 2
        finally:
            private_broker.resume()
        await until(lambda: len(pump.shards) == 2 and pump.shards[0].lease.live())
    await bench.close()


async def test_woken_worker_begins_nothing(bench: KafkaBench) -> None:
    """A worker that was frozen until its partitions moved begins no call on them when it wakes."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.kafka.frozen_worker",
        bench.connection.bootstrap_servers,
        bench.prefix,
        str(SESSION_MS),
        stdout=asyncio.subprocess.PIPE,
    )
    calls: list[tuple[int, int]] = []

    async def listen() -> None:
        assert child.stdout is not None
        async for line in child.stdout:
            _, partition, at = line.split()
            calls.append((int(partition), int(at)))

    listening = asyncio.create_task(listen())
    try:
        await until(lambda: {partition for partition, _ in calls} == {0, 1})
        child.send_signal(signal.SIGSTOP)
        async with running(bench, short_session(bench)) as pump:
            await until(lambda: len(pump.shards) == 2)
            shards = dict(pump.shards)
            woken_at = now_ms()
            child.send_signal(signal.SIGCONT)
            await until(lambda: any(at > woken_at for _, at in calls))
            for partition, at in calls:
                drained_at = shards[partition].drained_at
                assert at <= woken_at or (drained_at is not None and at >= drained_at)
    finally:
        child.kill()
        await child.wait()
        await listening
