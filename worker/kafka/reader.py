"""Reading without a group: bounds, and records from given positions; no consumer, no background work.

aiokafka's consumer would do, but for four things: it keeps records of before a seek, it loses a batch to one
odd header, it costs twice the CPU a record, and what it fetches depends on when its own tasks ran.
One question, one answer is simpler to reason about.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from worker.kafka.batches import CorruptBatch, read_batches, read_heads
from worker.kafka.clients import ClientKeeper
from worker.kafka.fates import NOTHING_TO_TELL, DescribeTransactionsRequest, last_transaction
from worker.kafka.faults import HOPELESS, OffsetNotAvailable, read_fault_of
from worker.kafka.reachability import ClusterUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.kafka.batches import Head, LogRecord
    from worker.kafka.connection import Connection
    from worker.kafka.fates import LastTransaction

T = TypeVar("T")
E = TypeVar("E")

EARLIEST: Final = -2
LATEST: Final = -1
_READ_COMMITTED: Final = 1
_READ_UNCOMMITTED: Final = 0
_NONE: Final = -1
_FULL_ANSWER_BYTES: Final = 50 * 1024 * 1024
_RETRY_S: Final = 0.05
_AWAY_S: Final = 0.5
_MOVED: Final = (
    kafka.NotLeaderForPartitionError,
    kafka.LeaderNotAvailableError,
    kafka.UnknownTopicOrPartitionError,
    kafka.ReplicaNotAvailableError,
    kafka.KafkaStorageError,
    kafka.StaleMetadata,
    OffsetNotAvailable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one fetch brought of one partition."""

    records: list[LogRecord]
    position: int
    """Where to go on: after markers and emptied batches too."""
    high_watermark: int = _NONE
    last_stable_offset: int = _NONE
    error: Exception | None = None
    """Why there is nothing; the position has not moved."""


class Reader:
    """Asks brokers for offsets and records; long polls want a reader of their own."""

    def __init__(self, connection: Connection, *, role: str, limit_ms: int = 10_000) -> None:
        self._limit_s = limit_ms / 1000
        self._keeper = ClientKeeper(connection, role=role, limit_ms=limit_ms)

    async def close(self) -> None:
        """Close the connections. A closed reader opens them again when it is used."""
        await self._keeper.close()

    async def offsets(
        self, partitions: Collection[TopicPartition], *, at: int, committed: bool = False
    ) -> dict[TopicPartition, int]:
        """Return each partition's first offset (``EARLIEST``) or high watermark (``LATEST``).

        With ``committed`` the latest is the last stable offset. Raises LogInterrupted after the time limit.
        """
        found: dict[TopicPartition, int] = {}
        isolation = _READ_COMMITTED if committed else _READ_UNCOMMITTED

        async def ask(client: AIOKafkaClient) -> dict[TopicPartition, int]:
            nodes, _unknown = await self.leaders(partitions - found.keys())
            for node, group in nodes.items():
                topics = _by_topic((tp, (tp.partition, at)) for tp in group)
                answer = await self._keeper.send(node, OffsetRequest(_NONE, isolation, topics))
                for topic, parts in answer.topics:
                    for partition, code, _time, offset in parts:
                        _raise_for(code)
                        found[TopicPartition(topic, partition)] = offset
            missing = partitions - found.keys()
            if missing:
                _demand_permission(client, {tp.topic for tp in missing})
                raise kafka.UnknownTopicOrPartitionError(_names(missing))
            return found

        partitions = set(partitions)
        return await self._tried(ask, doing=f"ask for offsets of {_names(partitions)}")

    async def committed(self, group: str, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, ``None`` without one. Raises LogInterrupted."""

        async def ask(client: AIOKafkaClient) -> int | None:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            request = OffsetFetchRequest(group, [(partition.topic, [partition.partition])])
            answer = await self._keeper.send(node, request, group=ConnectionGroup.COORDINATION)
            # Since version 2 an error of the whole group stands apart, and then there is no topic.
            _raise_for(getattr(answer, "error_code", 0))
            ((_topic, ((_partition, offset, _metadata, code),)),) = answer.topics
            _raise_for(code)
            return None if offset == _NONE else int(offset)

        return await self._tried(ask, doing=f"ask for the commit of group {group} in {_names([partition])}")

    async def last_transaction(self, transactional_id: str) -> LastTransaction | None:
        """Return what has become of the last transaction of an id; ``None``: nothing is known.

        Raises LogInterrupted.
        """

        async def ask(client: AIOKafkaClient) -> LastTransaction | None:
            try:
                node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
            except kafka.TransactionalIdAuthorizationFailed:
                return None  # the fence says which right is missing
            request = DescribeTransactionsRequest(transactional_id)
            try:
                answer = await self._keeper.send(node, request, group=ConnectionGroup.COORDINATION)
            except kafka.IncompatibleBrokerVersion:
                return None  # before Kafka 3.0
            ((code, _id, state, _timeout, _start, producer_id, producer_epoch, *_rest),) = answer.transactions
            if code in NOTHING_TO_TELL:
                return None
            _raise_for(code)
            return last_transaction(state=state, producer_id=producer_id, producer_epoch=producer_epoch)

        return await self._tried(ask, doing=f"ask for the last transaction of {transactional_id}")

    async def heads(
        self, partition: TopicPartition, start: int, *, before: int, partition_bytes: int
    ) -> list[Head]:
        """Return the heads of all batches from ``start`` to ``before``, whatever became of them.

        Raises LogInterrupted after the time limit, and for what cannot be read.
        """
        found: list[Head] = []
        position = start

        async def ask(_client: AIOKafkaClient) -> list[Head]:
            nonlocal position
            while position < before:
                nodes, _unknown = await self.leaders([partition])
                if not nodes:
                    raise kafka.LeaderNotAvailableError(_names([partition]))
                (node,) = nodes
                topics = _by_topic([(partition, (partition.partition, position, partition_bytes))])
                answer = await self._keeper.send(
                    node, FetchRequest(0, 1, _FULL_ANSWER_BYTES, _READ_UNCOMMITTED, topics)
                )
                _raise_for(getattr(answer, "error_code", 0))
                ((_topic, (part,)),) = answer.topics
                _partition, code, *_marks, data = _v4_form(answer)(part)
                _raise_for(code)
                heads, after = read_heads(data or b"", position=position)
                if after == position:
                    await asyncio.sleep(_RETRY_S)
                found.extend(head for head in heads if start <= head.base_offset < before)
                position = after
            return found

        try:
            return await self._tried(ask, doing=f"read the batches of {_names([partition])}")
        except CorruptBatch as error:
            raise read_fault_of(error, doing=f"read the batches of {_names([partition])}") from error

    async def refresh(self) -> None:
        """Ask anew which topics there are, and who leads them. Raises LogInterrupted."""

        async def ask(client: AIOKafkaClient) -> None:
            await client.force_metadata_update()

        await self._tried(ask, doing="ask which topics there are")

    async def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 if there is none. Raises LogInterrupted."""

        async def ask(client: AIOKafkaClient) -> int:
            await client.add_topic(topic)
            if not client.cluster.partitions_for_topic(topic):
                await client.force_metadata_update()  # known as missing: it may be there by now
            _demand_permission(client, {topic})
            return len(client.cluster.partitions_for_topic(topic) or ())

        return await self._tried(ask, doing=f"ask for the partitions of {topic}")

    async def leaders(
        self, partitions: Iterable[TopicPartition]
    ) -> tuple[dict[int, list[TopicPartition]], list[TopicPartition]]:
        """Group partitions by the broker that leads them; the second list has no leader, or no known one yet.

        Does not wait for brokers once connected: unknown leaders are looked for in the background.
        Raises what aiokafka raises, OSError or TimeoutError if there is no connection yet.
        """
        client = await self._keeper.ready()
        nodes: dict[int, list[TopicPartition]] = defaultdict(list)
        unknown = []
        for tp in partitions:
            node = client.cluster.leader_for_partition(tp)
            if node is None or node == _NONE:
                unknown.append(tp)
            else:
                nodes[node].append(tp)
        for topic in {tp.topic for tp in unknown}:
            client.add_topic(topic)
        if unknown:
            client.force_metadata_update()
        return nodes, unknown

    async def fetch(
        self, partition: TopicPartition, position: int, *, committed: bool, wait_ms: int, partition_bytes: int
    ) -> Fetched:
        """Fetch once from one partition; see ``fetch_from``. What goes wrong is in the ``error``."""
        failure: Exception = kafka.LeaderNotAvailableError()
        try:
            for node in (await self.leaders([partition]))[0]:
                found = await self.fetch_from(
                    node,
                    {partition: position},
                    committed=committed,
                    wait_ms=wait_ms,
                    partition_bytes=partition_bytes,
                )
                return found[partition]
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            failure = error
        return Fetched(records=[], position=position, error=failure)

    async def fetch_all(
        self, positions: Mapping[TopicPartition, int], *, committed: bool, wait_ms: int, partition_bytes: int
    ) -> dict[TopicPartition, Fetched]:
        """Fetch once from all brokers that lead these partitions; see ``fetch_from``.

        Partitions without a known leader are left out.
        """
        try:
            nodes, _unknown = await self.leaders(positions)
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            return {tp: Fetched(records=[], position=at, error=error) for tp, at in positions.items()}
        if not nodes:
            await asyncio.sleep(_RETRY_S)
        found = await asyncio.gather(
            *(
                self.fetch_from(
                    node,
                    {tp: positions[tp] for tp in group},
                    committed=committed,
                    wait_ms=wait_ms,
                    partition_bytes=partition_bytes,
                )
                for node, group in nodes.items()
            )
        )
        return {tp: fetched for part in found for tp, fetched in part.items()}

    async def fetch_from(
        self,
        node: int,
        positions: Mapping[TopicPartition, int],
        *,
        committed: bool,
        wait_ms: int,
        partition_bytes: int,
        aside: bool = False,
    ) -> dict[TopicPartition, Fetched]:
        """Fetch once from one broker, which waits at most ``wait_ms`` for the first byte to come.

        ``aside`` goes over a second connection: a broker answers a connection's requests one after the other.
        What goes wrong is in each partition's ``error``. Never raises for Kafka.
        """
        request = FetchRequest(
            wait_ms,
            1,
            _FULL_ANSWER_BYTES,
            _READ_COMMITTED if committed else _READ_UNCOMMITTED,
            _by_topic((tp, (tp.partition, at, partition_bytes)) for tp, at in positions.items()),
        )
        line = ConnectionGroup.COORDINATION if aside else ConnectionGroup.DEFAULT
        try:
            answer = await self._keeper.send(node, request, group=line)
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            return {tp: Fetched(records=[], position=at, error=error) for tp, at in positions.items()}
        refused = _error_of(getattr(answer, "error_code", 0))
        found = {
            tp: Fetched(records=[], position=position, error=refused) for tp, position in positions.items()
        }
        for topic, parts in answer.topics:
            for partition, code, high, stable, *_start, aborted, data in map(_v4_form(answer), parts):
                tp = TopicPartition(topic, partition)
                found[tp] = _read(positions[tp], code, data, aborted if committed else None, (high, stable))
        client = self._keeper.current
        if client is not None and any(isinstance(fetched.error, _MOVED) for fetched in found.values()):
            client.force_metadata_update()
        if not any(fetched.records for fetched in found.values()):
            # Over its quota a client gets an empty answer, and its next request is not read before that time.
            await asyncio.sleep(answer.throttle_time_ms / 1000)
        return found

    async def _tried(self, ask: Callable[[AIOKafkaClient], Awaitable[T]], *, doing: str) -> T:
        """Ask until there is an answer; what may pass is asked again within the limit."""
        failure: Exception = TimeoutError()
        try:
            async with asyncio.timeout(self._limit_s):
                while True:
                    try:
                        return await ask(await self._keeper.ready())
                    except (kafka.KafkaError, OSError) as error:
                        failure = error
                        if isinstance(error, HOPELESS):
                            break
                        away = isinstance(error, ClusterUnreachable)
                        await asyncio.sleep(_AWAY_S if away else _RETRY_S)
                        client = self._keeper.current
                        if client is not None:
                            await client.force_metadata_update()
        except TimeoutError:
            pass  # the last try's error says more
        raise read_fault_of(failure, doing=doing) from failure


def _read(
    position: int,
    code: int,
    data: bytes | None,
    aborted: Sequence[tuple[int, int]] | None,
    marks: tuple[int, int],
) -> Fetched:
    error: Exception | None = None
    records: list[LogRecord] = []
    after = position
    try:
        _raise_for(code)
        records, after = read_batches(data or b"", position=position, aborted=aborted)
    except (kafka.KafkaError, CorruptBatch) as failure:
        error = failure
    return Fetched(
        records=records,
        position=after,
        high_watermark=marks[0],
        last_stable_offset=marks[1],
        error=error,
    )


def _v4_form(answer: Any) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Tell how to bring one partition of this answer's version to version 4's form.

    (partition, error, high watermark, last stable offset, [log start,] aborted, records): since version 11 a
    preferred replica stands before the records, which matters to clients that name their rack; we do not.
    """
    replica_from = 11
    if replica_from > answer.API_VERSION:
        return lambda part: part
    return lambda part: (*part[:-2], part[-1])


def _by_topic(entries: Iterable[tuple[TopicPartition, E]]) -> list[tuple[str, list[E]]]:
    topics: dict[str, list[E]] = defaultdict(list)
    for tp, entry in entries:
        topics[tp.topic].append(entry)
    return list(topics.items())


def _demand_permission(client: AIOKafkaClient, topics: set[str]) -> None:
    """Raise TopicAuthorizationFailedError for topics that may not even be described: they are not missing."""
    forbidden = topics & client.cluster.unauthorized_topics
    if forbidden:
        raise kafka.TopicAuthorizationFailedError(forbidden)


def _raise_for(code: int) -> None:
    error = _error_of(code)
    if error is not None:
        raise error


def _error_of(code: int) -> kafka.KafkaError | None:
    return kafka.for_code(code)() if code else None


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(partitions))
