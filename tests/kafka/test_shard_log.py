"""What the log does when the cluster or its own process fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import LogicalTopic
from tests.kafka.bench import KafkaBench, until
from worker.kafka.lease import elapsed_ms
from worker.ports import LogInterrupted, Write, WriteRefused

if TYPE_CHECKING:
    from tests.brokers.fixtures import Broker, StartBroker
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2")]
JOURNAL = LogicalTopic.JOURNAL
LETTERS = LogicalTopic.DEAD_LETTERS

HALF_A_TRANSACTION = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

async def main():
    servers, transactional_id, topic = sys.argv[1:]
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=transactional_id)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, key=b"half", value=b"done", partition=0)
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def write(key: bytes = b"k", *, topic: LogicalTopic = JOURNAL, partition: int | None = None) -> Write:
    """Return a small write."""
    return Write(topic=topic, key=key, value=b"v", partition=partition)


@pytest.mark.fault("a topic is missing")
async def test_missing_topic(broker: Broker, prefix: str) -> None:
    """A write to a topic that does not exist is refused within seconds, with its name and what to do."""
    bench = KafkaBench(broker.bootstrap_servers, prefix)
    await bench.create(without=(LETTERS,))
    log = bench.log(0)
    await log.fence()
    began = elapsed_ms()
    with pytest.raises(WriteRefused, match=bench.names[LETTERS].replace(".", r"\.") + r"/0.*topics check"):
        await log.commit([write(), write(topic=LETTERS)])
    assert elapsed_ms() - began < 8_000
    await log.fence()
    await log.commit([write()])
    await bench.close()


@pytest.mark.fault("a partition is missing")
async def test_missing_partition(bench: KafkaBench) -> None:
    """A write to a partition that does not exist is refused."""
    log = bench.log(0)
    await log.fence()
    with pytest.raises(WriteRefused, match="/99"):
        await log.commit([write(partition=99)])


@pytest.mark.fault("a topic is deleted under a running producer")
async def test_topic_goes_away(bench: KafkaBench) -> None:
    """A topic deleted under a running producer is refused within the limit, not asked for without end."""
    log = bench.log(0, commit_limit_ms=2_000)
    await log.fence()
    await log.commit([write(topic=LETTERS)])
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.connection.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([bench.names[LETTERS]])
    await admin.close()
    with pytest.raises(WriteRefused, match="dead-letters"):
        await log.commit([write(), write(topic=LETTERS)])
    await log.fence()
    await log.commit([write()])


async def test_commit_before_fence(bench: KafkaBench) -> None:
    """Without a producer, and after each error, a commit says that fence comes first."""
    log = bench.log(0)
    with pytest.raises(LogInterrupted, match="fence first"):
        await log.commit([write()])


async def test_empty_commit(bench: KafkaBench) -> None:
    """An empty transaction is a mistake of the caller: it would ask nobody."""
    log = bench.log(0)
    await log.fence()
    with pytest.raises(ValueError, match="at least one write"):
        await log.commit([])


@pytest.mark.fault("SIGKILL inside a transaction")
async def test_killed_inside_a_transaction(bench: KafkaBench) -> None:
    """What a killed process had sent in an open transaction is aborted by its successor's fence."""
    arguments = (bench.connection.bootstrap_servers, f"{bench.group}-0", bench.names[JOURNAL])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HALF_A_TRANSACTION, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 20) == b"open\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    log = bench.log(0)
    await log.fence()
    await log.commit([write(b"mine")])
    assert [record.key async for batch in log.journal() for record in batch] == [b"mine"]


async def test_large_transaction(bench: KafkaBench) -> None:
    """A transaction of many batches per partition is written whole and in order."""
    log = bench.log(0)
    await log.fence()
    keys = [b"%d" % number for number in range(3_000)]
    await log.commit([Write(topic=JOURNAL, key=key, value=b"v" * 300) for key in keys])
    assert [record.key async for batch in log.journal() for record in batch] == keys


@pytest.mark.fault("the broker is stopped (SIGSTOP) during a commit")
async def test_broker_stops_answering(private_broker: LocalKafka, prefix: str) -> None:
    """A broker that stops answering interrupts a commit within its limit, and later all goes on."""
    bench = KafkaBench(private_broker.bootstrap_servers, prefix)
    await bench.create()
    log = bench.log(0, commit_limit_ms=1_500, fence_limit_ms=1_500)
    await log.fence()
    await log.commit([write(b"before")])
    private_broker.pause()
    try:
        with pytest.raises(LogInterrupted, match="no answer in time"):
            await log.commit([write(b"during")])
        with pytest.raises(LogInterrupted, match=r"is the broker reachable|start producer"):
            await log.fence()
    finally:
        private_broker.resume()

    async def fenced() -> bool:
        with contextlib.suppress(LogInterrupted):
            await log.fence()
            return True
        return False

    await until(fenced)
    await log.commit([write(b"after")])
    keys = [record.key async for batch in log.journal() for record in batch]
    assert (keys[0], keys[-1]) == (b"before", b"after")
    await bench.close()


@pytest.mark.fault("the broker is killed (SIGKILL)")
async def test_broker_is_killed(private_broker: LocalKafka, prefix: str) -> None:
    """After a broker was killed and came back, a fresh fence finds everything that was committed."""
    bench = KafkaBench(private_broker.bootstrap_servers, prefix)
    await bench.create()
    log = bench.log(0, commit_limit_ms=1_500, fence_limit_ms=5_000)
    await log.fence()
    await log.commit([write(b"before")])
    private_broker.kill()
    with pytest.raises(LogInterrupted):
        await log.commit([write(b"during")])
    await private_broker.restart()
    await log.fence()
    await log.commit([write(b"after")])
    keys = [record.key async for batch in log.journal() for record in batch]
    assert (keys[0], keys[-1]) == (b"before", b"after")
    await bench.close()


@pytest.mark.fault("no permission on the transactional id")
async def test_no_permission(start_broker: StartBroker, prefix: str) -> None:
    """Without permission on the transactional id a fence is refused, with what to grant."""
    kafka = await start_broker(
        users={"worker": "secret"},
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    bench = KafkaBench(kafka.bootstrap_servers, prefix)
    await bench.create()
    bench.login(kafka.users_bootstrap_servers, username="worker", password="secret")
    log = bench.log(0, fence_limit_ms=5_000)
    with pytest.raises(WriteRefused, match="transactional id") as refused:
        await log.fence()
    assert "secret" not in str(refused.value) + repr(bench.connection)
    await bench.close()
