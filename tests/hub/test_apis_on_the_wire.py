from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from contracts.states import Evidence, Step
from tests.hub.documented import FACTS
from tests.hub.payside import (
    CLIENT_ID,
    PATHS,
    WORKER,
    Gate,
    Received,
    Script,
    answer,
    call,
    hub_at,
    read_request,
    request_of,
    result_body,
    serving,
)
from worker.hub.apis.authorization_consult import AUTHORIZATION_CONSULT
from worker.hub.catalogue import EVERY_API
from worker.saga.results import Links, ResultClass
from worker.signing import PublicKeys, verify_request

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractAsyncContextManager

    from worker.hub.apis.api import Api
    from worker.hub.client import HttpHub

pytestmark = [pytest.mark.wire, pytest.mark.promise("P3", "P9")]

every_api = pytest.mark.parametrize("api", EVERY_API, ids=lambda api: api.name)
CANCELS = [api for api in EVERY_API if api.step is Step.CANCEL_TOKEN]


class LosesTheFirst:
    """Reads the first request and hangs up without a word; answers those that follow."""

    def __init__(self, reply: bytes) -> None:
        self.received: list[Received] = []
        self._reply = reply

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while (request := await read_request(reader)) is not None:
            self.received.append(request)
            if len(self.received) == 1:
                return
            writer.write(self._reply)
            await writer.drain()


def hub_for(api: Api, port: int) -> AbstractAsyncContextManager[HttpHub]:
    """Open a hub that speaks this API alone."""
    return hub_at(port, apis={api.step: api}, paths={api.step: PATHS[api.step]})


def verify(api: Api, received: Received) -> None:
    """See that the signature fits the bytes that came."""
    verify_request(
        headers=received.headers,
        method="POST",
        path=PATHS[api.step],
        body=received.body,
        keys=PublicKeys({CLIENT_ID: {"1": WORKER.verifier}}),
    )


@every_api
async def test_each_api_goes_out_signed_and_its_success_is_read(api: Api) -> None:
    """The bytes on the wire are the documented fields, signed as they are, and a signed S is done."""
    script = Script([answer(result_body(**FACTS), step=api.step)])
    request = request_of(api.step)
    async with serving(script) as port, hub_for(api, port) as hub:
        result = await hub.perform(call(api.step), request, Gate())
    (received,) = script.received
    assert received.line == f"POST {PATHS[api.step]} HTTP/1.1".encode()
    fields = api.fields(call(api.step), request)
    assert orjson.loads(received.body) == {name: value for name, value in fields.items() if value}
    verify(api, received)
    assert (result.result_class, result.verified, result.undecided) == (ResultClass.DONE, True, False)


@every_api
@pytest.mark.fault("the connection breaks after the request, before the answer")
async def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(api: Api) -> None:
    """After a lost answer the next try sends the same body, signed anew, and its S ends the doubt."""
    server = LosesTheFirst(answer(result_body(**FACTS), step=api.step))
    async with serving(server) as port, hub_for(api, port) as hub:
        result = await hub.perform(call(api.step, quick=1), request_of(api.step), Gate())
    first, second = server.received
    assert first.body == second.body
    verify(api, first)
    verify(api, second)
    assert (result.result_class, result.tries, result.undecided) == (ResultClass.DONE, 2, False)


@every_api
@pytest.mark.fault("the connection breaks after the request, before the answer")
async def test_a_lost_answer_alone_leaves_the_call_undecided(api: Api) -> None:
    """Where nothing came back, nothing is known."""
    server = LosesTheFirst(b"")
    async with serving(server) as port, hub_for(api, port) as hub:
        result = await hub.perform(call(api.step), request_of(api.step), Gate())
    assert (result.result_class, result.code, result.undecided) == (ResultClass.SOON, "NO_ANSWER", True)


@pytest.mark.parametrize("api", CANCELS, ids=lambda api: api.name)
@pytest.mark.parametrize("code", ["INVALID_TOKEN", "INVALID_ACCESS_TOKEN"])
async def test_a_token_found_dead_after_a_lost_answer_was_ended_by_us(api: Api, code: str) -> None:
    """The second try meets what the first one did: done, with evidence."""
    server = LosesTheFirst(answer(result_body("F", code)))
    async with serving(server) as port, hub_for(api, port) as hub:
        result = await hub.perform(call(quick=1), request_of(api.step), Gate())
    assert (result.result_class, result.evidence) == (ResultClass.DONE_ALREADY, Evidence.ALREADY_UNBOUND)
    assert not result.undecided


async def test_scopes_go_out_as_an_array_and_links_come_back() -> None:
    """Authorization Consult has an array among its texts, byte for byte, and its answer hands out links."""
    api = AUTHORIZATION_CONSULT
    reply = result_body(normalUrl="https://wallet.example/a", schemeUrl="wallet://a")
    script = Script([answer(reply, step=api.step)])
    async with serving(script) as port, hub_for(api, port) as hub:
        result = await hub.perform(call(api.step), request_of(api.step), Gate())
    assert b'"scopes":["BASE_USER_INFO","AGREEMENT_PAY"]' in script.received[0].body
    assert result.links == Links(normal_url="https://wallet.example/a", scheme_url="wallet://a")
