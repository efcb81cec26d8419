"""Three brokers, three replicas, two of which must be in sync: what dies, moves and comes back under load."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from aiokafka.structs import TopicPartition

from contracts.topics import LogicalTopic, topic_name
from tests.faults.brokers import admin
from tests.faults.brokers.scene import ALL, PLAIN, deliver, make_load, prove, stage_on_three
from tests.faults.judgement import doubled_calls
from tests.faults.stage import PARTITIONS, until
from worker.sandbox.local_kafka import local_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.stage import Stage
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P5")]
_NODES = (1, 2, 3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Give three brokers that the tests of this file share; each test leaves all of them running."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = AsyncExitStack()
        context = local_kafka(directory=tmp_path_factory.mktemp("three"), brokers=3)
        yield runner.run(running.enter_async_context(context))
        runner.run(running.aclose())


def _others(kafka: LocalKafka, node: int) -> str:
    """Return the addresses of the brokers but one, in which a dead one comes first for whom asks in order."""
    return ",".join(
        address
        for number, address in enumerate(kafka.bootstrap_servers.split(","), start=1)
        if number != node
    )


def _topics(stage: Stage) -> list[str]:
    return [
        topic_name(topic, prefix=stage.prefix)
        for topic in (LogicalTopic.REQUESTS, LogicalTopic.JOURNAL, LogicalTopic.STATES)
    ]


async def _busy(stage: Stage, *, calls: int = 40) -> None:
    async def has_called() -> bool:
        return len(await stage.ledger()) >= calls

    await until(has_called, within_s=30, what="the workers are busy")


async def _victim(stage: Stage, role: str) -> int:
    """Return the node in this role."""
    servers = stage.connection.bootstrap_servers
    if role == "group coordinator":
        return await admin.coordinator(servers, group=f"{stage.prefix}app")
    if role == "transaction coordinator":
        return await admin.coordinator(servers, transactional_id=f"{stage.prefix}app-0")
    return (await admin.leaders(servers, _topics(stage)))[_topics(stage)[1], 0]


@pytest.mark.parametrize(
    "role",
    [
        pytest.param("leader", marks=pytest.mark.fault("the leader of data partitions is killed")),
        pytest.param(
            "transaction coordinator", marks=pytest.mark.fault("a transaction coordinator is killed")
        ),
        pytest.param(
            "group coordinator",
            marks=[pytest.mark.fault("the group coordinator is killed"), pytest.mark.long],
        ),
    ],
)
async def test_broker_killed(cluster: LocalKafka, prefix: str, tmp_path: Path, role: str) -> None:
    """While a broker of three is dead the others take over: all partitions are open before it is back."""
    await cluster.start()
    async with stage_on_three(tmp_path, servers=cluster.bootstrap_servers, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(240, over_ms=16_000)  # longer than the others need to notice
        node = await _victim(stage, role)
        sending = deliver(stage, load, servers=cluster.bootstrap_servers)
        await _busy(stage)
        cluster.kill(node)
        stage.note(f"broker {node}, {role}, is killed")

        async def moved() -> bool:
            led = await admin.leaders(_others(cluster, node), _topics(stage))
            return len(led) == 3 * PARTITIONS and not {node, -1} & set(led.values())

        await until(moved, within_s=40, what="the other brokers lead everything", look_s=0.5)
        seen = len(await stage.ledger())
        await until(partial(_more_calls, stage, than=seen), within_s=40, what="work goes on")
        await until(lambda: stage.open_partitions() == ALL, within_s=40, what="all partitions are open")
        await cluster.start()
        stage.note("it is back")
        await prove(stage, load, sending)
        assert len(stage.running) == 2


async def _more_calls(stage: Stage, *, than: int) -> bool:
    return len(await stage.ledger()) > than


@pytest.mark.long
@pytest.mark.fault("all three brokers are restarted one after the other, in good order")
async def test_rolling_restart_of_brokers(cluster: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """A rolling restart of the cluster under load loses nothing and ends no worker."""
    await cluster.start()
    async with stage_on_three(tmp_path, servers=cluster.bootstrap_servers, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(300, over_ms=20_000)
        sending = deliver(stage, load, servers=cluster.bootstrap_servers)
        await _busy(stage)
        for node in _NODES:
            stage.note(f"broker {node} is restarted")
            await cluster.restart(node)
        await prove(stage, load, sending)
        assert len(stage.running) == 2


@pytest.mark.fault("leadership moves from broker to broker while all of them live")
async def test_leadership_moves(cluster: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """When leadership moves without a death no shard is restored and no call is made twice."""
    await cluster.start()
    async with stage_on_three(tmp_path, servers=cluster.bootstrap_servers, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load(words=PLAIN)
        load.plan(240, over_ms=15_000)
        sending = deliver(stage, load, servers=cluster.bootstrap_servers)
        await _busy(stage)
        servers, topics = cluster.bootstrap_servers, [*_topics(stage), f"{prefix}unbinding.commands"]
        orders = cycle([(2, 3, 1), (3, 1, 2), (1, 2, 3)])
        for _ in range(2):
            before = await admin.leaders(servers, topics)
            order = next(orders)
            partitions = [TopicPartition(*place) for place in before]
            await admin.reorder(servers, dict.fromkeys(partitions, order))
            await admin.elect(servers, partitions)

            async def led(by: int = order[0]) -> bool:
                return set((await admin.leaders(servers, topics)).values()) == {by}

            await until(led, within_s=30, what=f"broker {order[0]} leads everything", look_s=0.2)
            seen = len(await stage.ledger())
            await until(partial(_more_calls, stage, than=seen), within_s=20, what="work goes on")
        await prove(stage, load, sending)
        restored = [line for line in stage.lines() if line.event in {"transaction.failed", "shard.fenced"}]
        assert restored == []
        assert doubled_calls(await stage.ledger()) == []


@pytest.mark.long
@pytest.mark.fault("two of three brokers are dead for seconds: no controllers, no acknowledgement")
async def test_two_of_three_down(cluster: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """With two of three brokers dead nothing is committed and no worker ends; with them back, all goes on."""
    await cluster.start()
    async with stage_on_three(tmp_path, servers=cluster.bootstrap_servers, prefix=prefix) as stage:
        for slot in ("a", "b"):
            stage.hire(slot)
        await stage.settled()
        load = make_load()
        load.plan(200, over_ms=8_000)
        sending = deliver(stage, load, servers=cluster.bootstrap_servers)
        await _busy(stage)
        for node in (2, 3):
            cluster.kill(node)
        stage.note("brokers 2 and 3 are killed")

        def every_shard_has_stopped() -> bool:
            stopped = {
                number
                for line in stage.lines()
                if line.event == "transaction.failed"
                for number in line.partitions
            }
            return stopped == ALL

        await until(every_shard_has_stopped, within_s=60, what="no shard can commit")
        await cluster.start()
        stage.note("they are back")
        await prove(stage, load, sending)
        assert len(stage.running) == 2
