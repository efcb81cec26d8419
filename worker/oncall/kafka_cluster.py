"""The cluster that the settings name, as the commands use it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from contracts.origins import Origin
from worker.kafka import topics as kafka_topics
from worker.kafka.following import Start, Stop, follow, offsets_at, read_on
from worker.kafka.publishing import Outgoing, make_broker, publish
from worker.kafka.reader import Reader
from worker.oncall.cluster import Found, Span
from worker.oncall.errors import CommandError
from worker.ports import LogError
from worker.reach import connection_of, topic_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from contracts.topics import LogicalTopic
    from worker.kafka.connection import Connection
    from worker.kafka.following import Seen
    from worker.oncall.cluster import Message
    from worker.settings import Settings

_PATIENCE_MS: Final = 5_000
"""How long a person waits for the first answer of a broker."""
_BEGINNING: Final = 0


@asynccontextmanager
async def open_cluster(settings: Settings) -> AsyncIterator[KafkaCluster]:
    """Give the cluster that the settings name; nothing is connected before it is needed."""
    connection = connection_of(settings, role="oncall", request_ms=_PATIENCE_MS)
    reader = Reader(connection, role="oncall", limit_ms=_PATIENCE_MS)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(reader.close)
        yield KafkaCluster(settings, connection=connection, reader=reader, opened=opened)


class KafkaCluster:
    """`oncall.cluster.Cluster` on Apache Kafka; `open_cluster` makes it."""

    def __init__(
        self, settings: Settings, *, connection: Connection, reader: Reader, opened: AsyncExitStack
    ) -> None:
        """Take what reaches the cluster, and what closes at the end."""
        self._topics = settings.topics
        self._connection = connection
        self._reader = reader
        self._opened = opened
        self._send: Callable[[Sequence[Outgoing]], Awaitable[list[tuple[str, int, int]]]] | None = None
        self._names = topic_names(settings)

    async def partitions(self, topic: LogicalTopic) -> int:
        """Return how many partitions a topic has. Raises `CommandError`."""
        try:
            count = await self._reader.partition_count(self._names[topic])
        except LogError as error:
            raise self._silent(error) from error
        if count == 0:
            raise CommandError(
                f"topic {self._names[topic]} is missing at {self._connection.bootstrap_servers}: look with "
                "`unbinding topics check`, make it with `unbinding topics apply`, or check topics.prefix"
            )
        return count

    async def read(self, topic: LogicalTopic) -> AsyncIterator[Sequence[Found]]:
        """Give all committed records up to the end as of now."""
        await self.partitions(topic)
        async for seen in follow(self._reader, self._names[topic], start=Start.BEGINNING, stop=Stop.AT_END):
            yield [_found(entry) for entry in seen]

    async def spans(
        self, topic: LogicalTopic, *, since: int | None = None, until: int | None = None
    ) -> list[Span]:
        """Return what there is of each partition, as of now or of that time."""
        count = await self.partitions(topic)
        at = partial(offsets_at, self._reader, self._names[topic], count)
        try:
            begins, ends = await at(at=Start.BEGINNING.value), await at(at=Start.END.value)
            starts = begins if since is None else await at(at=since)
            stops = ends if until is None else await at(at=until)
        except LogError as error:
            raise self._silent(error) from error
        return [
            Span(
                partition=partition,
                begin=begin,
                # Where there is no record of that time or later, it would come at the end.
                start=end if start < 0 else start,
                end=end if stop < 0 else min(stop, end),
            )
            for partition, (begin, start, stop, end) in enumerate(
                zip(begins, starts, stops, ends, strict=True)
            )
        ]

    async def read_span(self, topic: LogicalTopic, span: Span) -> AsyncIterator[Sequence[Found]]:
        """Give the committed records of a stretch."""
        name = self._names[topic]
        async for seen in read_on(self._reader, name, span.partition, start=span.start, end=span.end):
            yield [_found(entry) for entry in seen]

    async def follow(self, topic: LogicalTopic, *, since: int | None) -> AsyncIterator[Sequence[Found]]:
        """Give committed records as they come, for ever."""
        await self.partitions(topic)
        start = Start.END if since is None else Start.BEGINNING
        least = since or _BEGINNING
        async for seen in follow(self._reader, self._names[topic], start=start):
            yield [_found(entry) for entry in seen if entry.timestamp_at >= least]

    async def publish(self, messages: Sequence[Message]) -> list[Origin]:
        """Publish in order; return where each lies."""
        send = await self._sender()
        placed = await send(
            [
                Outgoing(
                    topic=self._names[message.topic],
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                    partition=message.partition,
                )
                for message in messages
            ]
        )
        return [Origin(topic, partition, offset) for topic, partition, offset in placed]

    async def check_topics(self) -> list[kafka_topics.Finding]:
        """Return what is not as the settings want it."""
        try:
            return await kafka_topics.check(
                self._connection,
                names=self._names,
                partitions=self._topics.partitions,
                replication=self._topics.replication,
            )
        except LogError as error:
            raise self._silent(error) from error

    async def apply_topics(self, findings: Sequence[kafka_topics.Finding]) -> list[kafka_topics.Finding]:
        """Create and configure; return what is left for a person."""
        return await kafka_topics.apply(
            self._connection,
            findings,
            partitions=self._topics.partitions,
            replication=self._topics.replication,
        )

    async def _sender(self) -> Callable[[Sequence[Outgoing]], Awaitable[list[tuple[str, int, int]]]]:
        if self._send is None:
            broker = make_broker(self._connection)
            try:
                await broker.start()
            # aiokafka's errors are RuntimeErrors; its names stay in worker.kafka.
            except (RuntimeError, OSError) as error:
                await broker.stop()
                raise self._silent(error) from error
            self._opened.push_async_callback(broker.stop)
            self._send = partial(publish, broker)
        return self._send

    def _silent(self, error: Exception) -> CommandError:
        return CommandError(
            f"Kafka at {self._connection.bootstrap_servers} gives no answer that can be used: {error}. "
            "Check that it runs, and kafka.bootstrap_servers and kafka.security_protocol in the settings "
            "(`unbinding settings`)"
        )


def _found(seen: Seen) -> Found:
    return Found(
        partition=seen.partition,
        offset=seen.offset,
        timestamp_at=seen.timestamp_at,
        key=seen.key,
        value=seen.value,
        headers=seen.headers,
    )
