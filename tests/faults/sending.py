"""Sends what is planned, each record when its time has come, over brokers that come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer

from contracts.topics import LogicalTopic, topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from tests.faults.records import Planned

_REQUEST_MS: Final = 120_000
"""Longer than any broker is away: what was handed over is in the log once, or the sender has failed."""


class Sender:
    """A producer that counts what the broker has; used as a context. What is handed over is there once."""

    def __init__(self, *, bootstrap_servers: str, prefix: str) -> None:
        self.sent: Counter[LogicalTopic] = Counter()
        """What the broker has acknowledged, by topic."""
        self._prefix = prefix
        self._under_way: set[asyncio.Future[object]] = set()
        self._failed: BaseException | None = None
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            enable_idempotence=True,
            linger_ms=0,
            retry_backoff_ms=100,
            request_timeout_ms=_REQUEST_MS,
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, record: Planned) -> None:
        """Hand one record over; raises what an earlier one has failed with."""
        if self._failed is not None:
            raise self._failed
        future: asyncio.Future[object] = await self._producer.send(
            topic_name(record.topic, prefix=self._prefix),
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            partition=record.partition,
        )
        self._under_way.add(future)
        future.add_done_callback(lambda done: self._note(record.topic, done))

    async def flush(self) -> None:
        """Wait until the broker has everything; raises what a record has failed with."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._failed is not None:
            raise self._failed

    def _note(self, topic: LogicalTopic, done: asyncio.Future[object]) -> None:
        self._under_way.discard(done)
        if done.cancelled() or done.exception() is not None:
            self._failed = self._failed or (
                asyncio.CancelledError() if done.cancelled() else done.exception()
            )
            return
        self.sent[topic] += 1


async def play_out(planned: Iterable[Planned], sender: Sender, *, until_s: float | None = None) -> None:
    """Hand each record over when its time has come; stop before the first that is due after `until_s`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for record in planned:
        due_s = record.after_ms / 1000
        if until_s is not None and max(due_s, loop.time() - began) > until_s:
            return
        rest = began + due_s - loop.time()
        if rest > 0:
            await asyncio.sleep(rest)
        await sender.send(record)


async def send(planned: Sequence[Planned], *, bootstrap_servers: str, topic: str) -> int:
    """Send each record when its time has come, and wait until the broker has them all; return how many.

    `topic` is the name of the requests topic; other topics have its prefix.
    """
    prefix = topic.removesuffix(topic_name(LogicalTopic.REQUESTS))
    async with Sender(bootstrap_servers=bootstrap_servers, prefix=prefix) as sender:
        await play_out(planned, sender)
        await sender.flush()
        return sender.sent.total()
