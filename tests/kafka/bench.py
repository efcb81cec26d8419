"""A bench of a real Apache Kafka: topics of its own, and what a test does to them from outside."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from typing_extensions import override

from contracts.topics import LogicalTopic, topic_name, topic_partitions
from tests.brokers.topics import create_topics
from worker.kafka.connection import Connection
from worker.kafka.reader import EARLIEST, Reader
from worker.kafka.shard_log import LogSettings, ShardLog
from worker.ports import JournalRecord, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from worker.ports import Headers

PARTITIONS = 2
_BOUND_S = 20.0


async def until(condition: Callable[[], bool | Awaitable[bool]], *, bound_s: float = _BOUND_S) -> None:
    """Wait until the condition holds; fail by TimeoutError after the bound."""
    async with asyncio.timeout(bound_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.02)


class BenchLog(ShardLog):
    """A log whose topics may be named without the bench's prefix, as the suite does."""

    prefix = ""

    @override
    async def fetch(self, *, topic: str, partition: int, offset: int) -> Record | None:
        return await super().fetch(topic=self.prefix + topic, partition=partition, offset=offset)


class KafkaBench:
    """All topics under a prefix, and logs and readers of them. `close` closes what it gave away."""

    oversized = 1_100_000

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        """Name topics only; `create` makes them."""
        self.prefix = prefix
        self.names = {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
        self.connection = Connection(bootstrap_servers=bootstrap_servers)
        self.group = f"{prefix}app"
        self.reader = Reader(self.connection, role="bench")
        self._logs: list[ShardLog] = []

    async def create(self, *, partitions: int = PARTITIONS, without: tuple[LogicalTopic, ...] = ()) -> None:
        """Create the topics but those in `without`, and wait until they have leaders."""
        await create_topics(
            self.connection.bootstrap_servers,
            {
                self.names[topic]: topic_partitions(topic, partitions=partitions)
                for topic in LogicalTopic
                if topic not in without
            },
        )
        await self.reader.offsets(
            {
                TopicPartition(self.names[topic], partition)
                for topic in LogicalTopic
                if topic not in without
                for partition in range(topic_partitions(topic, partitions=partitions))
            },
            at=EARLIEST,
        )

    async def close(self) -> None:
        """Close all logs and readers."""
        for log in self._logs:
            await log.close()
        await self.reader.close()

    def settings(self, **changes: int) -> LogSettings:
        """Return log settings with short limits."""
        quick = LogSettings(application=self.group, names=self.names, stall_limit_ms=1_000)
        return replace(quick, **changes)  # type: ignore[arg-type]  # the limits are all int

    def log(self, partition: int, **changes: int) -> ShardLog:
        """Return a new log of the partition, as another process would make it; `changes` are of limits."""
        log = BenchLog(
            partition=partition,
            connection=self.connection,
            reader=self.reader,
            settings=self.settings(**changes),
        )
        log.prefix = self.prefix
        self._logs.append(log)
        return log

    def login(self, bootstrap_servers: str, *, username: str, password: str) -> None:
        """Let the logs from now on speak as this user; the reader stays as it is."""
        self.connection = Connection(
            bootstrap_servers=bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_username=username,
            sasl_password=password,
        )

    async def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> int:
        """Append a record without a transaction and return its offset."""
        async with AIOKafkaProducer(bootstrap_servers=self.connection.bootstrap_servers) as producer:
            sent = await producer.send_and_wait(
                self.names[topic], key=key, value=value, partition=partition, headers=list(headers)
            )
            return int(sent.offset)

    async def append_many(self, topic: LogicalTopic, partition: int, values: Sequence[bytes]) -> None:
        """Append records without keys, in order."""
        async with AIOKafkaProducer(bootstrap_servers=self.connection.bootstrap_servers) as producer:
            for value in values:
                await producer.send(self.names[topic], value=value, partition=partition)
            await producer.flush()

    async def append_raw(
        self,
        topic: LogicalTopic,
        partition: int,
        records: Sequence[tuple[bytes, bytes, Sequence[tuple[bytes, bytes]]]],
    ) -> None:
        """Append one batch whose header keys are any bytes, as (key, value, headers)."""
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
        names: dict[bytes, bytes] = {}
        for offset, (key, value, headers) in enumerate(records):
            marked: list[tuple[str, bytes | None]] = []
            for name, content in headers:
                mark = bytes([0x11 + len(names)]) * len(name)  # stands in while the batch is encoded
                names[mark] = name
                marked.append((mark.decode(), content))
            builder.append(offset, int(time.time() * 1000), key, value, marked)
        raw = bytes(builder.build())
        for mark, name in names.items():
            raw = raw.replace(mark, name)
        # The checksum covers everything from the attributes on.
        raw = raw[:17] + calc_crc32c(raw[21:]).to_bytes(4, "big") + raw[21:]
        await self._produce(TopicPartition(self.names[topic], partition), raw)

    async def _produce(self, tp: TopicPartition, batch: bytes) -> None:
        client = AIOKafkaClient(bootstrap_servers=self.connection.bootstrap_servers)
        await client.bootstrap()
        try:
            await client.add_topic(tp.topic)
            node = client.cluster.leader_for_partition(tp)
            request = ProduceRequest(
                transactional_id=None,
                required_acks=-1,
                timeout=5_000,
                topics=[(tp.topic, [(tp.partition, batch)])],
            )
            answer = await client.send(node, request)
            assert answer.topics[0][1][0][1] == 0
        finally:
            await client.close()

    async def visible(self, topic: LogicalTopic, partition: int) -> Sequence[JournalRecord]:
        """Return what a read_committed reader sees from the start, without waiting for open transactions."""
        tp = TopicPartition(self.names[topic], partition)
        position = (await self.reader.offsets([tp], at=EARLIEST))[tp]
        seen: list[JournalRecord] = []
        while True:
            fetched = await self.reader.fetch(
                tp, position, committed=True, wait_ms=1, partition_bytes=1_000_000
            )
            if fetched.error is not None:
                raise fetched.error
            if fetched.position == position:
                return seen
            position = fetched.position
            seen += [
                JournalRecord(
                    record.key or b"",
                    record.value,
                    tuple((name, value or b"") for name, value in record.headers),
                )
                for record in fetched.records
            ]

    @asynccontextmanager
    async def foreign(self, topic: LogicalTopic, partition: int) -> AsyncIterator[None]:
        """Keep another producer's transaction open, with a record in the partition; then abort it."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.connection.bootstrap_servers, transactional_id=f"{self.prefix}foreign"
        ) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(
                self.names[topic], key=b"foreign", value=b"open", partition=partition
            )
            yield
            await producer.abort_transaction()

    @asynccontextmanager
    async def refusing(self, topic: LogicalTopic) -> AsyncIterator[None]:
        """Let the topic refuse each write: only a transaction's marker (78 bytes) is small enough."""
        await self.alter(topic, {"max.message.bytes": "78"})
        yield
        await self.alter(topic, {})

    async def alter(self, topic: LogicalTopic, configs: dict[str, str]) -> None:
        """Give the topic exactly these configs of its own."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.connection.bootstrap_servers)
        await admin.start()
        try:
            resource = ConfigResource(ConfigResourceType.TOPIC, self.names[topic], configs=configs)
            await admin.alter_configs([resource])
        finally:
            await admin.close()

    async def trim(self, topic: LogicalTopic, partition: int, *, start: int) -> None:
        """Delete all records before `start`, as retention does."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.connection.bootstrap_servers)
        await admin.start()
        try:
            tp = TopicPartition(self.names[topic], partition)
            await admin.delete_records({tp: RecordsToDelete(before_offset=start)})
        finally:
            await admin.close()

    async def commit_group(self, partition: int, offset: int) -> None:
        """Commit the group's offset of the requests partition."""
        tp = TopicPartition(self.names[LogicalTopic.REQUESTS], partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.connection.bootstrap_servers, group_id=self.group, enable_auto_commit=False
        )
        consumer.assign([tp])
        await consumer.start()
        try:
            await consumer.commit({tp: offset})
        finally:
            await consumer.stop()
