"""Publishing without transactions, for people's tools: requests, commands, holds. FastStream carries it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka import errors as kafka
from faststream.kafka import KafkaBroker

from worker.kafka.connection import faststream_security
from worker.kafka.faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.kafka.connection import Connection
    from worker.ports import Headers


Broker = KafkaBroker
"""What publishes: FastStream's broker, by the name that other rooms use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One record to publish; without a partition the key decides as in Kafka's Java client."""

    topic: str
    key: bytes | None
    value: bytes | None
    """``None`` is a tombstone; it needs a key."""
    headers: Headers = ()
    """Values must be UTF-8."""
    partition: int | None = None


def make_broker(connection: Connection) -> KafkaBroker:
    """Return FastStream's broker for this cluster: idempotent, all replicas, no topic created by accident."""
    return KafkaBroker(
        connection.bootstrap_servers,
        client_id=f"{connection.client_id}-publish",
        request_timeout_ms=connection.request_timeout_ms,
        metadata_max_age_ms=connection.metadata_max_age_ms,
        security=faststream_security(connection),
        sasl_oauth_token_provider=connection.sasl_token_provider,
        enable_idempotence=True,
        acks="all",
        allow_auto_create_topics=False,
        logger=None,
    )


async def publish(broker: KafkaBroker, records: Sequence[Outgoing]) -> list[tuple[str, int, int]]:
    """Publish in order and return each record's topic, partition and offset when all are acknowledged.

    Raises WriteRefused or LogInterrupted; some of the records may be published then: publish again,
    repetitions of a request are recognised.
    """
    try:
        sent = [
            await broker.publish(
                record.value,
                record.topic,
                key=record.key,
                partition=record.partition,
                headers={name: value.decode() for name, value in record.headers},
                no_confirm=True,
            )
            for record in records
        ]
        done = await asyncio.gather(*sent)
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        topics = ", ".join(sorted({record.topic for record in records}))
        raise fault_of(error, doing=f"publish to {topics}") from error
    return [(entry.topic, entry.partition, entry.offset) for entry in done]
