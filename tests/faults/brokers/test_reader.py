"""Our own reader, against a broker that breaks off, falls silent, moves away or slows down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.brokers.topics import create_topics
from tests.faults.brokers.admin import set_quota
from tests.faults.brokers.cable import lay_cable
from tests.faults.stage import until
from worker.kafka.connection import Connection
from worker.kafka.reader import LATEST, Reader
from worker.ports import LogInterrupted
from worker.sandbox.kafka_config import Listener
from worker.sandbox.local_kafka import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import StartBroker
    from tests.faults.brokers.conftest import Wired

pytestmark = pytest.mark.broker


class Readers:
    """Makes readers, and closes them at the end of a test, however it ends."""

    def __init__(self) -> None:
        self._made: list[Reader] = []

    def reader(self, connection: Connection, *, limit_ms: int = 10_000) -> Reader:
        """Return a new reader."""
        self._made.append(Reader(connection, role="x", limit_ms=limit_ms))
        return self._made[-1]

    async def close(self) -> None:
        """Close them all."""
        await asyncio.gather(*(reader.close() for reader in self._made))


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    """Give a maker of readers."""
    readers = Readers()
    yield readers
    await readers.close()


@pytest.fixture
async def partition(wired: Wired, prefix: str) -> TopicPartition:
    """Give an empty partition."""
    await create_topics(wired.plain, {f"{prefix}read": 1})
    return TopicPartition(f"{prefix}read", 0)


@pytest.mark.promise("P11")
@pytest.mark.fault("connections reset while requests are being sent")
async def test_a_reset_is_an_answer_like_any_other(
    wired: Wired, partition: TopicPartition, readers: Readers
) -> None:
    """Whatever moment a connection breaks at, a fetch comes back and says so, and the next ones work."""
    reader = readers.reader(Connection(bootstrap_servers=wired.cable.address))
    found = []
    for _ in range(10):
        assert await reader.offsets([partition], at=LATEST) == {partition: 0}
        wired.cable.reset()
        for _ in range(60):
            found.append(
                asyncio.ensure_future(
                    reader.fetch_from(1, {partition: 0}, committed=True, wait_ms=10, partition_bytes=1_000)
                )
            )
            await asyncio.sleep(0)  # the next step of the event loop
    errors = [fetched[partition].error for fetched in await asyncio.gather(*found)]
    assert any(isinstance(error, KafkaError) for error in errors)
    assert all(error is None or isinstance(error, KafkaError) for error in errors)
    assert await reader.offsets([partition], at=LATEST) == {partition: 0}


@pytest.mark.promise("P11")
@pytest.mark.fault("connections that lead nowhere any more, without a word")
async def test_a_silent_connection_is_given_up(
    wired: Wired, partition: TopicPartition, readers: Readers
) -> None:
    """A connection whose other end has vanished costs one question its time limit, and then is made anew."""
    connection = Connection(bootstrap_servers=wired.cable.address, request_timeout_ms=20_000)
    reader = readers.reader(connection, limit_ms=3_000)
    assert await reader.offsets([partition], at=LATEST) == {partition: 0}
    wired.cable.forget()
    with pytest.raises(LogInterrupted, match="no answer in time"):
        await reader.offsets([partition], at=LATEST)
    assert await reader.offsets([partition], at=LATEST) == {partition: 0}


@pytest.mark.long
@pytest.mark.promise("P11")
@pytest.mark.fault("a cluster that comes back under other addresses")
async def test_addresses_change(start_broker: StartBroker, prefix: str, readers: Readers) -> None:
    """A cluster that comes back under other addresses is found again through the configured ones."""
    entry, before, after = free_ports(nodes=3)
    async with (
        lay_cable(target=entry.clients, port=entry.controller) as door,
        lay_cable(target=entry.clients, port=before.clients) as old,
        lay_cable(target=entry.clients, port=after.clients) as new,
    ):

        def listener(advertised: int) -> Listener:
            return Listener(
                name="CABLE", protocol="PLAINTEXT", ports=(entry.clients,), advertised=(advertised,)
            )

        kafka = await start_broker(listeners=(listener(old.port),))
        await create_topics(kafka.bootstrap_servers, {f"{prefix}read": 1})
        partition = TopicPartition(f"{prefix}read", 0)
        reader = readers.reader(Connection(bootstrap_servers=door.address))
        assert await reader.offsets([partition], at=LATEST) == {partition: 0}
        assert old.connections > 0
        old.cut()
        await kafka.restart(plan=kafka.plan.having(listener(new.port)))

        async def found() -> bool:
            fetched = await reader.fetch(partition, 0, committed=True, wait_ms=10, partition_bytes=1_000)
            return fetched.error is None

        await until(found, within_s=30, what="the reader has found the new address")
        assert new.connections > 0


@pytest.mark.promise("P11")
@pytest.mark.fault("the reader is over its quota")
async def test_over_quota(wired: Wired, partition: TopicPartition, readers: Readers) -> None:
    """Over its quota a reader gets everything, later; an empty answer is neither an error nor an end."""
    async with AIOKafkaProducer(bootstrap_servers=wired.plain) as producer:
        for number in range(60):
            await producer.send_and_wait(partition.topic, b"%06d" % number + b"x" * 10_000, partition=0)
    reader = readers.reader(Connection(bootstrap_servers=wired.cable.address, client_id="slow"))
    await set_quota(wired.plain, client_id="slow-x", rates={"consumer_byte_rate": 60_000})
    assert await reader.offsets([partition], at=LATEST) == {partition: 60}
    read: list[int] = []
    position = empty = 0
    async with asyncio.timeout(60):
        while len(read) < 60:
            fetched = await reader.fetch(
                partition, position, committed=True, wait_ms=10, partition_bytes=200_000
            )
            assert fetched.error is None
            empty += not fetched.records
            position = fetched.position
            read += [int((record.value or b"")[:6]) for record in fetched.records]
    assert read == list(range(60))
    assert empty > 0


@pytest.mark.promise("P11")
@pytest.mark.fault("the broker reads nothing any more while a client is closed")
async def test_closing_does_not_wait_for_the_other_end(
    wired: Wired, partition: TopicPartition, readers: Readers
) -> None:
    """A reader is closed within seconds although the broker has stopped reading."""
    reader = readers.reader(Connection(bootstrap_servers=wired.cable.address))
    assert await reader.offsets([partition], at=LATEST) == {partition: 0}
    wired.kafka.pause()
    try:
        async with asyncio.timeout(5):
            await reader.close()
    finally:
        wired.kafka.resume()
