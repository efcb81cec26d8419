"""Publishing without transactions and following without a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faststream.kafka import TestKafkaBroker

from contracts.topics import LogicalTopic
from worker.kafka.connection import Connection
from worker.kafka.following import Seen, Start, Stop, follow
from worker.kafka.publishing import Outgoing, make_broker, publish
from worker.ports import LogInterrupted, Write, WriteRefused

if TYPE_CHECKING:
    from tests.kafka.bench import KafkaBench

REQUESTS = LogicalTopic.REQUESTS
HOLDS = LogicalTopic.HOLDS


async def seen(bench: KafkaBench, topic: LogicalTopic) -> list[Seen]:
    """Return all that is in a topic."""
    return [
        entry
        async for batch in follow(bench.reader, bench.names[topic], start=Start.BEGINNING, stop=Stop.AT_END)
        for entry in batch
    ]


async def test_publishes_through_faststream() -> None:
    """What is published reaches a FastStream subscriber of the topic."""
    broker = make_broker(Connection(bootstrap_servers="nowhere:9092"))
    got: list[Any] = []

    @broker.subscriber("requests")
    async def take(body: dict[str, int]) -> None:
        got.append(body)

    async with TestKafkaBroker(broker):
        await broker.publish(b'{"a":1}', "requests", key=b"k")
    assert got == [{"a": 1}]


@pytest.mark.broker
async def test_publishes_and_follows(bench: KafkaBench) -> None:
    """Records arrive with key, value and headers; a tombstone stays one."""
    async with make_broker(bench.connection) as broker:
        await broker.start()
        places = await publish(
            broker,
            [
                Outgoing(
                    topic=bench.names[REQUESTS],
                    key=b"b",
                    value=b"{}",
                    headers=(("ce_id", b"1"),),
                    partition=1,
                ),
                Outgoing(topic=bench.names[HOLDS], key=b"h", value=None),
            ],
        )
    assert places == [(bench.names[REQUESTS], 1, 0), (bench.names[HOLDS], 0, 0)]
    (request,) = await seen(bench, REQUESTS)
    assert (request.partition, request.key, request.value) == (1, b"b", b"{}")
    assert ("ce_id", b"1") in request.headers
    (release,) = await seen(bench, HOLDS)
    assert (release.key, release.value) == (b"h", None)


@pytest.mark.broker
async def test_follows_committed_records_only(bench: KafkaBench) -> None:
    """A follower sees committed records and ends at the end, past markers."""
    log = bench.log(0)
    await log.fence()
    await log.commit([Write(topic=LogicalTopic.STATES, key=b"a", value=b"1")])
    async with bench.foreign(LogicalTopic.STATES, 1):
        pass
    assert [entry.key for entry in await seen(bench, LogicalTopic.STATES)] == [b"a"]


@pytest.mark.broker
async def test_follows_from_the_end(bench: KafkaBench) -> None:
    """From the end only what comes later is seen."""
    await bench.append(REQUESTS, 0, key=b"k", value=b"old")
    async for batch in follow(bench.reader, bench.names[REQUESTS]):
        if batch:
            assert [entry.value for entry in batch] == [b"new"]
            break
        await bench.append(REQUESTS, 0, key=b"k", value=b"new")


@pytest.mark.broker
async def test_too_large(bench: KafkaBench) -> None:
    """A record above the limit is refused with its topic."""
    async with make_broker(bench.connection) as broker:
        await broker.start()
        with pytest.raises(WriteRefused, match=r"unbinding\.requests"):
            await publish(broker, [Outgoing(topic=bench.names[REQUESTS], key=b"k", value=b"x" * 2_000_000)])


@pytest.mark.broker
async def test_following_a_missing_topic(bench: KafkaBench) -> None:
    """Following a topic that is not there says so instead of waiting."""
    following = follow(bench.reader, f"{bench.prefix}nowhere")
    with pytest.raises(LogInterrupted, match="nowhere"):
        await anext(following)
