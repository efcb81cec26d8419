"""A worker in a process of its own, to be frozen: it says each time when a call could begin."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import replace
from time import time_ns

from tests.kafka.bench import KafkaBench
from tests.kafka.fake_shard import FakeShard
from tests.kafka.recorder import Recorder
from worker.kafka.pump import Pump, PumpSettings

_LOOK_S = 0.005


async def main(servers: str, prefix: str, session_ms: int) -> None:
    """Run a pump with fake shards; print `call PARTITION MILLISECONDS` whenever a lease is live."""
    bench = KafkaBench(servers, prefix)
    connection = replace(bench.connection, session_timeout_ms=session_ms, heartbeat_interval_ms=1_000)
    pump: Pump[FakeShard] = Pump(
        connection=connection,
        log_settings=bench.settings(),
        settings=PumpSettings(),
        make_shard=lambda partition, log, feed, lease: FakeShard(
            partition, log, feed, lease, start_at=lambda _: 0
        ),
        position_of=lambda shard: shard.position,
        observer=Recorder(),
    )
    running = asyncio.create_task(pump.run())
    while not running.done():
        for partition, shard in pump.shards.items():
            if shard.lease.live():
                sys.stdout.write(f"call {partition} {time_ns() // 1_000_000}\n")
        sys.stdout.flush()
        await asyncio.sleep(_LOOK_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
