"""Transactional producers: made, started within a time limit, and buried without hanging.

aiokafka's producer has no way to give up: its ``stop`` waits for batches that may never be delivered. What
this needs of its insides is in this file alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.producer import sender as aiokafka_sender

from worker.kafka.clients import close_client
from worker.kafka.connection import client_arguments

if TYPE_CHECKING:
    from worker.kafka.connection import Connection

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]

_BURIAL_S: Final = 1.0

# A transaction that follows at once finds the last one's markers not written yet and is told to wait.
# aiokafka waits 20 ms; with 5 ms a busy shard's transaction takes less than half the time and no more CPU.
aiokafka_sender.BACKOFF_OVERRIDE = 0.005


def make_producer(
    connection: Connection,
    *,
    transactional_id: str,
    transaction_timeout_ms: int,
    batch_bytes: int,
    compression: Compression,
) -> AIOKafkaProducer:
    """Return a producer that is not started yet."""
    return AIOKafkaProducer(
        **client_arguments(connection, role=transactional_id),
        transactional_id=transactional_id,
        transaction_timeout_ms=transaction_timeout_ms,
        acks="all",
        linger_ms=0,
        max_batch_size=batch_bytes,
        compression_type=None if compression == "none" else compression,
    )


async def start_producer(producer: AIOKafkaProducer, *, limit_ms: int) -> None:
    """Connect and get a producer id: this fences every earlier producer of the same transactional id.

    Raises what aiokafka raises, or TimeoutError. A producer that did not start is buried.
    """
    try:
        async with asyncio.timeout(limit_ms / 1000):
            await producer.start()
    except BaseException:
        await bury(producer)
        raise


def producer_identity(producer: AIOKafkaProducer) -> dict[str, int]:
    """Return the id and epoch that the coordinator gave to a started producer."""
    manager = producer._txn_manager  # noqa: SLF001 - no public way
    return {"producer_id": manager.producer_id, "producer_epoch": manager.producer_epoch}


async def bury(producer: AIOKafkaProducer) -> None:
    """Let go of a producer in any state, within about two seconds; nothing pending is waited for."""
    producer._closed = True  # noqa: SLF001 - it would complain
    sender = producer._sender.sender_task  # noqa: SLF001 - the one task that would go on
    if sender is not None:
        # The first cancel lets it finish its requests in flight, the second ends those that do not end.
        for _ in range(2):
            sender.cancel()
            await asyncio.wait([sender], timeout=_BURIAL_S)
        with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError):
            sender.exception()  # seen already by whoever awaited the failed transaction
    await close_client(producer.client)
    # Unseen, its error would be logged as never retrieved.
    transaction = producer._txn_manager._transaction_waiter  # noqa: SLF001 - no public way
    if transaction is not None and transaction.done():
        transaction.exception()


def refusal_of(producer: AIOKafkaProducer) -> BaseException | None:
    """Return why the coordinator refused the transaction, if it did.

    aiokafka then sends the batches nevertheless, and they fail with errors that hide this one.
    """
    transaction = producer._txn_manager._transaction_waiter  # noqa: SLF001 - no public way
    if transaction is None or not transaction.done() or transaction.cancelled():
        return None
    error: BaseException | None = transaction.exception()
    return error
