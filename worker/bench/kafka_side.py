"""What the benchmark itself does on Kafka: topics for a run, requests into them, and what came out."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from contracts.cloudevents import event_headers
from contracts.topics import LogicalTopic, partition_of, topic_configs, topic_name, topic_partitions
from worker.bench.errand import BenchFailed
from worker.bench.names import JOURNAL, REQUESTS, STATES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_LEADERS_WITHIN_S: Final = 10.0
_READ_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a run."""

    event_id: str
    binding_id: str
    token: str

    def value(self, *, at: int) -> bytes:
        """Return its data."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at // 1000))
        return orjson.dumps(
            {
                "bindingId": self.binding_id,
                "initiator": "wallet",
                "requestedAt": moment,
                "authClientId": "auth-client-1",
                "referenceMerchantId": "merchant-1",
                "accessToken": self.token,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a ``read_committed`` reader finds after a run."""

    unbound: int
    """Bindings that ended as ``unbound``."""
    repeated: int
    """Records that say ``unbound`` of a binding once more."""
    transactions: int
    """Committed to the journal; 0 for a contestant without one."""


def make_requests(prefix: str, count: int, *, first: int = 0) -> list[Request]:
    """Return so many requests, each for a binding and a token of its own."""
    return [
        Request(f"{prefix}{number}", f"{prefix}binding-{number}", f"bench.{prefix}{number:08d}")
        for number in range(first, first + count)
    ]


class KafkaSide:
    """The benchmark's own clients. Made by ``open_kafka_side``."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        admin: AIOKafkaAdminClient,
        transactional: AIOKafkaProducer,
        plain: AIOKafkaProducer,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._admin = admin
        self._transactional = transactional
        self._plain = plain

    @asynccontextmanager
    async def topics(self, prefix: str, *, partitions: int) -> AsyncIterator[None]:
        """Make all topics for the length of a block."""
        names = {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
        await self._admin.create_topics(
            [
                NewTopic(
                    name,
                    topic_partitions(topic, partitions=partitions),
                    1,
                    topic_configs=topic_configs(topic, replication=1),
                )
                for topic, name in names.items()
            ]
        )
        try:
            await self._wait_for_leaders(list(names.values()))
            yield
        finally:
            await self._admin.delete_topics(list(names.values()))

    async def _wait_for_leaders(self, names: list[str]) -> None:
        async with asyncio.timeout(_LEADERS_WITHIN_S):
            while True:
                described = await self._admin.describe_topics(names)
                if all(
                    topic["error_code"] == 0 and all(part["leader"] >= 0 for part in topic["partitions"])
                    for topic in described
                ):
                    return
                await asyncio.sleep(0.05)

    async def release(self, prefix: str, requests: Sequence[Request], *, partitions: int) -> None:
        """Publish requests in one transaction: they lie there all at once, as a backlog does."""
        at = time.time_ns() // 1_000_000
        async with self._transactional.transaction():
            sent = [
                await self._send(self._transactional, prefix, request, partitions=partitions, at=at)
                for request in requests
            ]
            await asyncio.gather(*sent)

    async def trickle(self, prefix: str, request: Request, *, partitions: int) -> int:
        """Publish one request, and return the time in its record: ms since the Unix epoch."""
        at = time.time_ns() // 1_000_000
        await (await self._send(self._plain, prefix, request, partitions=partitions, at=at))
        return at

    async def _send(
        self, producer: AIOKafkaProducer, prefix: str, request: Request, *, partitions: int, at: int
    ) -> asyncio.Future[object]:
        sent: asyncio.Future[object] = await producer.send(
            prefix + REQUESTS,
            request.value(at=at),
            key=request.binding_id.encode(),
            partition=partition_of(request.binding_id, partitions),
            timestamp_ms=at,
            headers=event_headers(
                event_id=request.event_id,
                source="/unbinding/bench",
                event_type="unbinding.requested.v1",
                at=at,
                subject=request.binding_id,
            ),
        )
        return sent

    async def outcome(self, prefix: str, *, partitions: int) -> Outcome:
        """Read what came out of a run, to the end as it is now."""
        values, _markers = await self._read(prefix + STATES, partitions)
        _records, transactions = await self._read(prefix + JOURNAL, partitions)
        states = [orjson.loads(value) for value in values if value is not None]
        unbound = [state["bindingId"] for state in states if state["state"] == "unbound"]
        return Outcome(
            unbound=len(set(unbound)),
            repeated=len(unbound) - len(set(unbound)),
            transactions=transactions,
        )

    async def _read(self, topic: str, partitions: int) -> tuple[list[bytes | None], int]:
        """Return the values of a topic, and how many offsets are no records: the markers of transactions."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            parts = [TopicPartition(topic, number) for number in range(partitions)]
            ends = await consumer.end_offsets(parts)
            consumer.assign(parts)
            values: list[bytes | None] = []
            async with asyncio.timeout(_READ_WITHIN_S):
                for part in parts:
                    while await consumer.position(part) < ends[part]:
                        for found in (await consumer.getmany(timeout_ms=200)).values():
                            values.extend(record.value for record in found)
            return values, sum(ends.values()) - len(values)
        finally:
            await consumer.stop()


@asynccontextmanager
async def open_kafka_side(bootstrap_servers: str, *, name: str) -> AsyncIterator[KafkaSide]:
    """Connect, and close at the end. Raises BenchFailed if it cannot."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    transactional = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, transactional_id=name)
    plain = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    async with AsyncExitStack() as opened:
        opened.push_async_callback(admin.close)
        try:
            await admin.start()
            for producer in (transactional, plain):
                opened.push_async_callback(producer.stop)
                await producer.start()
        except (KafkaError, OSError) as error:
            raise BenchFailed(
                f"Kafka at {bootstrap_servers} cannot be used ({error}): "
                "start it, or leave KAFKA_BOOTSTRAP_SERVERS unset to have one started"
            ) from error
        yield KafkaSide(bootstrap_servers, admin=admin, transactional=transactional, plain=plain)
