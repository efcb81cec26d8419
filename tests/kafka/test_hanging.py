"""Records that hang, made as a coordinator makes them: in a partition that it was never told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from contracts.topics import LogicalTopic
from tests.kafka.bench import KafkaBench
from worker.kafka.producers import bury
from worker.ports import RestoreStalled, Write

if TYPE_CHECKING:
    from tests.brokers.fixtures import StartBroker
    from worker.kafka.shard_log import ShardLog

pytestmark = [
    pytest.mark.broker,
    pytest.mark.promise("P1", "P2"),
    pytest.mark.fault("the coordinator ends a transaction without telling all its partitions"),
]


def written(key: bytes) -> list[Write]:
    """Return one record for the journal and one for the states."""
    return [
        Write(topic=LogicalTopic.JOURNAL, key=key, value=b"x"),
        Write(topic=LogicalTopic.STATES, key=key, value=b"x"),
    ]


OWN = ((LogicalTopic.JOURNAL, 0), (LogicalTopic.STATES, 0))


async def hang(
    bench: KafkaBench,
    key: bytes,
    *,
    commits: bool | None,
    places: tuple[tuple[LogicalTopic, int], ...] = OWN,
) -> None:
    """Write a record into each place that hangs, as partition 0's own producer.

    ``commits``: how the coordinator ends its transaction; `None`: it forgets that there was one.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.connection.bootstrap_servers, transactional_id=f"{bench.group}-0"
    )
    await producer.start()
    await producer.begin_transaction()
    manager = producer._txn_manager  # noqa: SLF001 - no broker does this on demand
    if commits is not None:
        await producer.send_and_wait(bench.names[LogicalTopic.VERDICTS], b"x", partition=0)
    for topic, partition in places:
        tp = TopicPartition(bench.names[topic], partition)
        manager._txn_partitions.add(tp)  # noqa: SLF001 - so that the coordinator hears nothing of it
        await producer.send_and_wait(tp.topic, b"x", key=key, partition=partition)
    if commits is None:
        await bury(producer)
    elif commits:
        await producer.commit_transaction()
        await producer.stop()
    else:
        await producer.abort_transaction()
        await producer.stop()


async def hang_before_the_last(
    bench: KafkaBench, key: bytes, *, commits: bool, stamps: tuple[int, int]
) -> None:
    """Write a transaction that hangs in the states only, and a later one behind it that does not hang.

    ``stamps``: the timestamps of its records in the journal and in the states.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.connection.bootstrap_servers, transactional_id=f"{bench.group}-0"
    )
    await producer.start()
    names = bench.names
    await producer.begin_transaction()
    await producer.send_and_wait(
        names[LogicalTopic.JOURNAL], b"x", key=key, partition=0, timestamp_ms=stamps[0]
    )
    states = TopicPartition(names[LogicalTopic.STATES], 0)
    producer._txn_manager._txn_partitions.add(states)  # noqa: SLF001 - so that the coordinator hears nothing of it
    await producer.send_and_wait(states.topic, b"x", key=key, partition=0, timestamp_ms=stamps[1])
    await (producer.commit_transaction() if commits else producer.abort_transaction())
    await producer.begin_transaction()
    await producer.send_and_wait(
        names[LogicalTopic.JOURNAL], b"x", key=b"later", partition=0, timestamp_ms=stamps[0] + 1
    )
    await (producer.abort_transaction() if commits else producer.commit_transaction())
    await producer.stop()


async def journal(log: ShardLog) -> list[bytes]:
    """Return the keys of the journal as a restore reads it."""
    return [record.key async for records in log.journal() for record in records]


@pytest.fixture
async def bench(start_broker: StartBroker, prefix: str) -> KafkaBench:
    """Give a cluster that takes records in partitions of which its coordinator was not told."""
    kafka = await start_broker(properties={"transaction.partition.verification.enable": "false"})
    bench = KafkaBench(kafka.bootstrap_servers, prefix)
    await bench.create()
    return bench


@pytest.mark.parametrize("commits", [True, False])
async def test_what_hangs_is_ended_as_it_was_decided(bench: KafkaBench, *, commits: bool) -> None:
    """Hanging records are shown if their transaction was committed, and never if not; the log goes on."""
    before = bench.log(0)
    await before.fence()
    await before.commit(written(b"one"))
    await hang(bench, b"two", commits=commits)
    after = bench.log(0)
    await after.fence()
    assert await journal(after) == [b"one", *([b"two"] if commits else [])]
    await after.commit(written(b"three"))
    expected = [b"one", *([b"two"] if commits else []), b"three"]
    assert await journal(after) == expected
    assert [record.key for record in await bench.visible(LogicalTopic.STATES, 0)] == expected
    await bench.close()


async def test_unknown_fate_keeps_the_log_closed(bench: KafkaBench) -> None:
    """Where nobody knows how a hanging transaction ended the fence says where it is and what to do."""
    before = bench.log(0)
    await before.fence()
    await hang(bench, b"two", commits=None)
    with pytest.raises(RestoreStalled, match=r"binding\.states/0.*find-hanging"):
        await bench.log(0).fence()
    await bench.close()


async def test_what_may_be_older_keeps_the_log_closed(bench: KafkaBench) -> None:
    """Where the journal does not hang, it may not be the last transaction that does: nothing is ended."""
    await hang(bench, b"two", commits=False, places=((LogicalTopic.STATES, 0),))
    with pytest.raises(RestoreStalled, match="find out whether"):
        await bench.log(0).fence()
    await bench.close()


@pytest.mark.parametrize("commits", [True, False])
async def test_the_journal_tells_how_an_earlier_one_ended(bench: KafkaBench, *, commits: bool) -> None:
    """Where an earlier transaction hangs outside of the journal, it is ended as the journal says of it."""
    await hang_before_the_last(bench, b"two", commits=commits, stamps=(1_700_000_000_000,) * 2)
    log = bench.log(0)
    await log.fence()
    await log.commit(written(b"three"))
    assert await journal(log) == [b"two" if commits else b"later", b"three"]
    shown = [record.key for record in await bench.visible(LogicalTopic.STATES, 0)]
    assert shown == [*([b"two"] if commits else []), b"three"]
    await bench.close()


async def test_a_trace_that_is_not_in_the_journal_tells_nothing(bench: KafkaBench) -> None:
    """Where no batch of the journal is of the transaction that hangs, the log stays closed."""
    stamps = (1_700_000_000_000, 1_700_000_000_007)
    await hang_before_the_last(bench, b"two", commits=True, stamps=stamps)
    with pytest.raises(RestoreStalled, match=r"binding\.states/0.*find-hanging"):
        await bench.log(0).fence()
    await bench.close()


async def test_a_transaction_bears_one_timestamp_of_its_own(bench: KafkaBench) -> None:
    """All batches of a transaction bear one timestamp, and no two transactions of a producer the same one."""
    log = bench.log(0)
    await log.fence()
    for key in (b"one", b"two", b"three"):
        await log.commit(written(key))
    stamps = []
    for topic in (LogicalTopic.JOURNAL, LogicalTopic.STATES):
        tp = TopicPartition(bench.names[topic], 0)
        heads = await bench.reader.heads(tp, 0, before=6, partition_bytes=1_000)
        assert [head.aborts for head in heads] == [None, False] * 3
        stamps.append([head.stamp or 0 for head in heads if head.aborts is None])
    assert stamps[0] == stamps[1] == sorted(set(stamps[0]))
    await bench.close()


async def test_a_forward_that_hangs_is_shown(bench: KafkaBench) -> None:
    """A forwarded request that hangs in another partition is shown: one that comes twice is recognised."""
    await hang(bench, b"two", commits=False, places=(*OWN, (LogicalTopic.REQUESTS, 1)))
    log = bench.log(0)
    await log.fence()
    assert await journal(log) == []
    assert [record.key for record in await bench.visible(LogicalTopic.REQUESTS, 1)] == [b"two"]
    await bench.close()
