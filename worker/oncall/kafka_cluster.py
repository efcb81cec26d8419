"""The cluster that the settings name, as the commands use it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from contracts.origins import Origin
from contracts.topics import LogicalTopic, topic_name
from worker.kafka import topics as kafka_topics
from worker.kafka.connection import Connection
from worker.kafka.following import Start, Stop, follow
from worker.kafka.publishing import Outgoing, make_broker, publish
from worker.kafka.reader import Reader
from worker.oncall.cluster import Found
from worker.oncall.errors import CommandError
from worker.ports import LogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from faststream.kafka import KafkaBroker

    from worker.kafka.following import Seen
    from worker.oncall.cluster import Message
    from worker.settings import Settings

_PATIENCE_MS: Final = 5_000
"""How long a person waits for the first answer of a broker."""
_BEGINNING: Final = 0


@asynccontextmanager
async def open_cluster(settings: Settings) -> AsyncIterator[KafkaCluster]:
    """Give the cluster that the settings name; nothing is connected before it is needed."""
    connection = connection_of(settings)
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
        self._broker: KafkaBroker | None = None
        self._names = _names(settings.topics.prefix)

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

    async def follow(self, topic: LogicalTopic, *, since: int | None) -> AsyncIterator[Sequence[Found]]:
        """Give committed records as they come, for ever."""
        await self.partitions(topic)
        start = Start.END if since is None else Start.BEGINNING
        least = since or _BEGINNING
        async for seen in follow(self._reader, self._names[topic], start=start):
            yield [_found(entry) for entry in seen if entry.timestamp_at >= least]

    async def publish(self, messages: Sequence[Message]) -> list[Origin]:
        """Publish in order; return where each lies."""
        broker = await self._publisher()
        placed = await publish(
            broker,
            [
                Outgoing(
                    topic=self._names[message.topic],
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                    partition=message.partition,
                )
                for message in messages
            ],
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

    async def _publisher(self) -> KafkaBroker:
        if self._broker is None:
            broker = make_broker(self._connection)
            try:
                await broker.start()
            # aiokafka's errors are RuntimeErrors; its names stay in worker.kafka.
            except (RuntimeError, OSError) as error:
                await broker.stop()
                raise self._silent(error) from error
            self._opened.push_async_callback(broker.stop)
            self._broker = broker
        return self._broker

    def _silent(self, error: Exception) -> CommandError:
        return CommandError(
            f"Kafka at {self._connection.bootstrap_servers} gives no answer that can be used: {error}. "
            "Check that it runs, and kafka.bootstrap_servers and kafka.security_protocol in the settings "
            "(`unbinding settings`)"
        )


def connection_of(settings: Settings) -> Connection:
    """Return how to reach the cluster. Raises `CommandError`."""
    kafka = settings.kafka
    password = None if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
    if kafka.sasl_password_file is not None:
        password = _secret(kafka.sasl_password_file)
    key_password = None if kafka.ssl_key_password_file is None else _secret(kafka.ssl_key_password_file)
    try:
        return Connection(
            bootstrap_servers=",".join(kafka.bootstrap_servers),
            client_id=f"{settings.application}-oncall",
            security_protocol=kafka.security_protocol.value,
            sasl_mechanism=kafka.sasl_mechanism.value,
            sasl_username=kafka.sasl_username,
            sasl_password=password,
            ssl_ca_file=_text(kafka.ssl_ca_file),
            ssl_cert_file=_text(kafka.ssl_cert_file),
            ssl_key_file=_text(kafka.ssl_key_file),
            ssl_key_password=key_password,
            request_timeout_ms=min(kafka.request_timeout_ms, _PATIENCE_MS),
        )
    except ValueError as error:
        # Connection's text names settings, never their values.
        raise CommandError(str(error)) from None


def _names(prefix: str) -> dict[LogicalTopic, str]:
    try:
        return {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
    except ValueError as error:
        raise CommandError(str(error)) from None


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{path} cannot be read: check the file and its permissions") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _found(seen: Seen) -> Found:
    return Found(
        partition=seen.partition,
        offset=seen.offset,
        timestamp_at=seen.timestamp_at,
        key=seen.key,
        value=seen.value,
        headers=seen.headers,
    )
