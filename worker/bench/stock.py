"""The stock designs: a FastStream handler with an HTTP client and tenacity, as its users would write it.

They read and publish what ours does and promise much less; docs and proofs say what goes wrong in them.
Nothing is logged (FastStream would write two lines per message), and uvloop runs them as it runs ours.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import httpx
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from worker.bench.bare_calls import CANCEL, CONSULT, BareSigner, cancel_body, consult_body, state_event
from worker.bench.errand import STOCK_HANDLERS, Contestant
from worker.bench.names import REQUESTS, STATES

if TYPE_CHECKING:
    from worker.bench.bare_calls import Endpoint
    from worker.bench.errand import Errand
    from worker.bench.meter import Tally

_TIME_LIMIT_S = 5.0


class UnbindingRequest(BaseModel):
    """A request as a handler takes it."""

    bindingId: str  # noqa: N815 - the name on the wire
    authClientId: str  # noqa: N815 - the name on the wire
    referenceMerchantId: str  # noqa: N815 - the name on the wire
    accessToken: str  # noqa: N815 - the name on the wire


class Post(Protocol):
    """Makes one signed call and returns the verified answer."""

    async def __call__(self, endpoint: Endpoint, body: bytes) -> dict[str, Any]:
        """Return a success. Raises what the HTTP client and the signer raise."""
        ...


async def run_stock(errand: Errand, tally: Tally) -> None:
    """Work until cancelled."""
    async with AsyncExitStack() as opened:
        signer = BareSigner(errand)
        post = (
            await _over_aiohttp(errand, signer, opened)
            if errand.contestant is Contestant.STOCK_AIOHTTP
            else await _over_httpx(errand, signer, opened)
        )
        broker = KafkaBroker(errand.bootstrap_servers, logger=None)
        _subscribe(broker, errand, post=post, tally=tally)
        await broker.start()
        opened.push_async_callback(broker.stop)
        await asyncio.Event().wait()


def _subscribe(broker: KafkaBroker, errand: Errand, *, post: Post, tally: Tally) -> None:
    states = errand.prefix + STATES
    serial = errand.contestant is Contestant.STOCK_SERIAL

    @broker.subscriber(
        errand.prefix + REQUESTS,
        group_id=f"{errand.prefix}stock",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        # One at a time it can commit what it has done; with workers only the default is allowed.
        ack_policy=AckPolicy.ACK if serial else AckPolicy.ACK_FIRST,
        max_workers=1 if serial else STOCK_HANDLERS,
    )
    async def unbind(request: UnbindingRequest) -> None:
        fields = request.model_dump()
        key = request.bindingId.encode()
        await broker.publish(state_event(request.bindingId, "requested"), states, key=key)
        permission = await post(CONSULT, consult_body(fields))
        await broker.publish(state_event(request.bindingId, "allowed"), states, key=key)
        await post(CANCEL, cancel_body(fields, permission))
        await broker.publish(state_event(request.bindingId, "unbound"), states, key=key)
        tally.ended()


async def _over_httpx(errand: Errand, signer: BareSigner, opened: AsyncExitStack) -> Post:
    client = await opened.enter_async_context(
        httpx.AsyncClient(
            base_url=errand.base_url,
            timeout=_TIME_LIMIT_S,
            limits=httpx.Limits(max_connections=STOCK_HANDLERS, max_keepalive_connections=STOCK_HANDLERS),
        )
    )

    @retry(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        retry=retry_if_exception_type(httpx.TransportError),
        reraise=True,
    )
    async def post(endpoint: Endpoint, body: bytes) -> dict[str, Any]:
        answer = await client.post(endpoint.path, content=body, headers=signer.headers(endpoint, body))
        answer.raise_for_status()
        return signer.read(endpoint, answer.headers, answer.content)

    return post


async def _over_aiohttp(errand: Errand, signer: BareSigner, opened: AsyncExitStack) -> Post:
    session = await opened.enter_async_context(
        aiohttp.ClientSession(
            errand.base_url,
            connector=aiohttp.TCPConnector(limit=STOCK_HANDLERS),
            timeout=aiohttp.ClientTimeout(total=_TIME_LIMIT_S),
        )
    )

    @retry(
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        retry=retry_if_exception_type(aiohttp.ClientError),
        reraise=True,
    )
    async def post(endpoint: Endpoint, body: bytes) -> dict[str, Any]:
        headers = signer.headers(endpoint, body)
        async with session.post(endpoint.path, data=body, headers=headers, raise_for_status=True) as answer:
            return signer.read(endpoint, answer.headers, await answer.read())

    return post
