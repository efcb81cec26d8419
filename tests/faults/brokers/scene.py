"""What the tests of this folder share: stages on three brokers or behind a cable, loads, readiness, stops."""

from __future__ import annotations

import asyncio
import tomllib
from collections import defaultdict
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from contracts.topics import LogicalTopic, topic_name
from tests.faults.load import Load, send
from tests.faults.rounds import Course, Outcome, at_rest, conclude
from tests.faults.stage import PARTITIONS, now_ms, open_stage
from worker.kafka.connection import Connection
from worker.kafka.topics import apply, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.diary import Line
    from tests.faults.stage import Process, Stage

ALL: Final = frozenset(range(PARTITIONS))
PLAIN: Final = {"allow": 1}
"""Words of a payment side that obeys: each call is made once."""
_ASK_S: Final = 5.0
_CLOSED: Final = frozenset(
    {"shard.drained", "shard.fenced", "transaction.failed", "shard.refused", "transaction.split"}
)


def make_load(*, seed: int = 7, words: dict[str, int] | None = None) -> Load:
    """Return a load without records."""
    load = Load(random=Random(seed), partitions=PARTITIONS, begins_at=now_ms())  # noqa: S311 - a seed, no secret
    if words is not None:
        load.words = dict(words)
    return load


def deliver(stage: Stage, load: Load, *, servers: str) -> asyncio.Task[int]:
    """Send all records of a load, each when its time has come."""
    return asyncio.create_task(send(load.planned, bootstrap_servers=servers, topic=stage.requests))


async def prove(stage: Stage, load: Load, sending: asyncio.Task[int]) -> None:
    """Wait until all is sent and at rest, and have everything judged; no worker has ended by itself."""
    assert await sending == len(load.planned)
    await at_rest(stage)
    outcome = Outcome(
        course=Course(seed=7, kinds=frozenset()), directory=stage.directory, violations=[], sent=0
    )
    await conclude(stage, load, outcome)
    assert outcome.good, outcome.told()
    ended = [process.child.told() for process in stage.processes if process.child.code not in (None, 0, -9)]
    assert not ended, "\n".join(ended)


@asynccontextmanager
async def stage_on_three(
    directory: Path, *, servers: str, prefix: str, session_ms: int = 6_000
) -> AsyncIterator[Stage]:
    """Open a stage whose topics have three replicas, of which two must be in sync."""
    names = {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
    connection = Connection(bootstrap_servers=servers)
    findings = await check(connection, names=names, partitions=PARTITIONS, replication=3)
    await apply(connection, findings, partitions=PARTITIONS, replication=3)
    async with open_stage(
        directory, bootstrap_servers=servers, prefix=prefix, session_ms=session_ms
    ) as stage:
        yield stage


@asynccontextmanager
async def stage_behind(
    directory: Path, *, plain: str, seen_by_workers: str, prefix: str
) -> AsyncIterator[Stage]:
    """Open a stage whose workers know another address of the cluster than the test does."""
    async with open_stage(directory, bootstrap_servers=plain, prefix=prefix) as stage:
        stage.connection = Connection(bootstrap_servers=seen_by_workers)
        yield stage


async def readiness(stage: Stage, process: Process) -> tuple[int, list[str]]:
    """Ask a worker whether it is ready: the status and its troubles; status 0 if it does not answer."""
    config = tomllib.loads((stage.directory / f"{process.name}.toml").read_text(encoding="utf-8"))
    url = f"http://{config['http']['address']}/health/ready"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S)) as session,
            session.get(url) as answer,
        ):
            body: dict[str, Any] = await answer.json()
            return answer.status, body["troubles"]
    except (aiohttp.ClientError, TimeoutError):
        return 0, []


def lines_between(process: Process, began_at: int, ended_at: int) -> list[Line]:
    """Return what a worker has logged in this time."""
    return [line for line in process.lines() if began_at <= line.at < ended_at]


def stopped_ms(lines: list[Line], *, began_at: int, ended_at: int) -> dict[int, int]:
    """Return how long each partition was not open in this time, as far as logs tell; in ms."""
    closed_at: dict[int, int] = {}
    total: dict[int, int] = defaultdict(int)
    for line in sorted(lines, key=lambda line: line.at):
        if not began_at <= line.at <= ended_at:
            continue
        for partition in line.partitions:
            if line.event in _CLOSED:
                closed_at.setdefault(partition, line.at)
            elif line.event == "shard.opened" and partition in closed_at:
                total[partition] += line.at - closed_at.pop(partition)
    for partition, at in closed_at.items():
        total[partition] += ended_at - at
    return dict(total)
