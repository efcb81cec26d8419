"""The floor: what two signed calls, one record read and three sent cost where nothing is promised.

Whatever crashes here is lost, repeated or out of order. It is what all others are measured against.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from worker.bench.bare_calls import CANCEL, CONSULT, BareSigner, cancel_body, consult_body, state_event
from worker.bench.names import REQUESTS, STATES

if TYPE_CHECKING:
    from worker.bench.bare_calls import Endpoint
    from worker.bench.errand import Errand
    from worker.bench.meter import Tally


async def run_floor(errand: Errand, tally: Tally) -> None:
    """Work until cancelled."""
    consumer = AIOKafkaConsumer(
        errand.prefix + REQUESTS,
        bootstrap_servers=errand.bootstrap_servers,
        group_id=f"{errand.prefix}floor",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=errand.bootstrap_servers)
    async with aiohttp.ClientSession(
        errand.base_url, connector=aiohttp.TCPConnector(limit=errand.in_flight)
    ) as session:
        loop = _Loop(errand, tally, producer=producer, session=session)
        await producer.start()
        await consumer.start()
        try:
            async with asyncio.TaskGroup() as sagas:
                while True:
                    found = await consumer.getmany(timeout_ms=1_000)
                    for record in (record for records in found.values() for record in records):
                        await loop.room.acquire()
                        sagas.create_task(loop.saga(record.value))
        finally:
            await consumer.stop()
            await producer.stop()


class _Loop:
    def __init__(
        self, errand: Errand, tally: Tally, *, producer: AIOKafkaProducer, session: aiohttp.ClientSession
    ) -> None:
        self.room = asyncio.Semaphore(errand.in_flight)
        self._signer = BareSigner(errand)
        self._states = errand.prefix + STATES
        self._tally = tally
        self._producer = producer
        self._session = session

    async def saga(self, value: bytes | None) -> None:
        request = orjson.loads(value or b"")
        binding_id = request["bindingId"]
        await self._send(binding_id, "requested")
        permission = await self._call(CONSULT, consult_body(request))
        await self._send(binding_id, "allowed")
        await self._call(CANCEL, cancel_body(request, permission))
        await self._send(binding_id, "unbound")
        self.room.release()
        self._tally.ended()

    async def _call(self, endpoint: Endpoint, body: bytes) -> dict[str, Any]:
        headers = self._signer.headers(endpoint, body)
        async with self._session.post(endpoint.path, data=body, headers=headers) as answer:
            return self._signer.read(endpoint, answer.headers, await answer.read())

    async def _send(self, binding_id: str, state: str) -> None:
        await self._producer.send(self._states, state_event(binding_id, state), key=binding_id.encode())
