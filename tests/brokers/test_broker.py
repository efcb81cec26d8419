"""The broker that all other broker tests stand on does what they take for granted."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.brokers.fixtures import Broker
from tests.brokers.topics import create_topics

pytestmark = pytest.mark.broker


async def test_a_transaction_is_read_by_read_committed_readers(broker: Broker, prefix: str) -> None:
    """What was committed in a transaction is read; what was aborted before it is not."""
    topic = f"{prefix}smoke"
    await create_topics(broker.bootstrap_servers, {topic: 1})
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, transactional_id=f"{prefix}producer"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"committed")
        await producer.commit_transaction()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    async with consumer:
        consumer.assign([TopicPartition(topic, 0)])
        record = await consumer.getone()
    assert record.value == b"committed"
