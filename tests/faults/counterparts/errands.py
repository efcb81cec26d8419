"""What upstream asks for here: requests with plain tokens, by the user of the wallet or by the merchant."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaProducer

from contracts.cloudevents import event_headers
from contracts.requests import UNBINDING_REQUESTED
from contracts.topics import partition_of
from contracts.wire import rfc3339
from tests.faults.stage import PARTITIONS, now_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One request, and what it is for."""

    kind: str
    """A word of the test's own."""
    token: str
    binding_id: str
    partition: int
    value: bytes = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)


def errand(
    kind: str, *, merchant: bool = False, at: int | None = None, expires_at: int | None = None
) -> Errand:
    """Make a request for a new binding; the merchant's needs no consult. Times in ms since the Unix epoch."""
    number = secrets.token_hex(8)
    binding_id = f"binding-{number}"
    data = {
        "bindingId": binding_id,
        "initiator": "merchant" if merchant else "wallet",
        "requestedAt": rfc3339(now_ms() if at is None else at),
        "authClientId": "client-1",
        "referenceMerchantId": "merchant-1",
        "accessToken": f"secret-{kind}-{number}",
    }
    if merchant:
        data |= {"pspId": "psp-807", "acquirerId": "acq-310"}
    if expires_at is not None:
        data["expiresAt"] = rfc3339(expires_at)
    headers = event_headers(
        event_id=f"event-{number}", source="/upstream", event_type=UNBINDING_REQUESTED, at=now_ms()
    )
    return Errand(
        kind=kind,
        token=data["accessToken"],
        binding_id=binding_id,
        partition=partition_of(binding_id, PARTITIONS),
        value=orjson.dumps(data),
        headers=tuple(headers),
    )


class Upstream:
    """Sends requests; made by ``open_upstream``."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def send(
        self,
        errands: Sequence[Errand],
        *,
        over_s: float = 0,
        sent: Callable[[Errand], None] = lambda _: None,
    ) -> None:
        """Send requests, evenly over the time, and wait until the broker has them all."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        under_way = []
        for number, one in enumerate(errands):
            rest = began + over_s * number / len(errands) - loop.time()
            if rest > 0:
                await asyncio.sleep(rest)
            under_way.append(
                await self._producer.send(
                    self._topic,
                    key=one.binding_id.encode(),
                    value=one.value,
                    headers=list(one.headers),
                    partition=one.partition,
                )
            )
            sent(one)
        await asyncio.gather(*under_way)


@asynccontextmanager
async def open_upstream(bootstrap_servers: str, topic: str) -> AsyncIterator[Upstream]:
    """Open upstream's producer."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True, linger_ms=1)
    await producer.start()
    try:
        yield Upstream(producer, topic)
    finally:
        await producer.stop()
