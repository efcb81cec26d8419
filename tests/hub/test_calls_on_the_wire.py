from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from contracts.states import Evidence, Outcome, Step
from tests.hub.payside import (
    CLIENT_ID,
    PATHS,
    PAYSIDE,
    RESPONSE_TIME,
    STRANGER,
    TOKEN,
    WORKER,
    Gate,
    Naps,
    Script,
    answer,
    call,
    http,
    hub_at,
    result_body,
    serving,
    signed,
    unbinding,
    until,
)
from worker.ports import Hub, NotBegun
from worker.saga.results import ResultClass
from worker.signing import PublicKeys, sign_response, verify_request

if TYPE_CHECKING:
    import asyncio

pytestmark = [pytest.mark.wire, pytest.mark.promise("P9")]

ALLOWED = result_body(acquirerId="acq-310", pspId="psp-807", allowUnbinding="true")


async def test_a_call_goes_out_exactly_as_documented() -> None:
    """The request line, the headers, their order and the body are those of the API and nothing else."""
    script = Script([answer(result_body())])
    async with serving(script) as port, hub_at(port) as hub:
        await hub.perform(call(), unbinding(pass_through_info="k=v"), Gate())
    (received,) = script.received
    assert received.line == f"POST {PATHS[Step.CANCEL_TOKEN]} HTTP/1.1".encode()
    assert [name for name, _ in received.headers] == [
        b"Host",
        b"Content-Type",
        b"Accept",
        b"Accept-Encoding",
        b"Client-Id",
        b"Content-Length",
        b"Request-Time",
        b"Signature",
    ]
    assert received.header(b"Host") == f"127.0.0.1:{port}".encode()
    assert received.header(b"Content-Type") == b"application/json; charset=UTF-8"
    assert received.header(b"Accept-Encoding") == b"identity"
    assert received.header(b"Request-Time") == b"2025-11-23T03:00:00+00:00"
    assert orjson.loads(received.body) == {
        "pspId": "psp-807",
        "acquirerId": "acq-310",
        "accessToken": TOKEN,
        "passThroughInfo": "k=v",
    }
    verify_request(
        headers=received.headers,
        method="POST",
        path=PATHS[Step.CANCEL_TOKEN],
        body=received.body,
        keys=PublicKeys({CLIENT_ID: {"1": WORKER.verifier}}),
    )


async def test_an_absent_field_is_left_out() -> None:
    """Without passThroughInfo the message has no such field."""
    script = Script([answer(result_body())])
    async with serving(script) as port, hub_at(port) as hub:
        await hub.perform(call(), unbinding(), Gate())
    assert set(orjson.loads(script.received[0].body)) == {"pspId", "acquirerId", "accessToken"}


@pytest.mark.parametrize("path", ["/a%7Eb/c?x=%2C&y=a+b", "/a;b=1//c/%e4?q"])
async def test_the_signed_path_is_the_path_on_the_wire(path: str) -> None:
    """Escapes, doubled slashes and queries go out byte for byte as they were configured and signed."""
    body = result_body()
    script = Script([http(body, signed(body, path=path))])
    async with serving(script) as port, hub_at(port, paths={Step.CANCEL_TOKEN: path}) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    (received,) = script.received
    assert received.line == f"POST {path} HTTP/1.1".encode()
    verify_request(
        headers=received.headers,
        method="POST",
        path=path,
        body=received.body,
        keys=PublicKeys({CLIENT_ID: {"1": WORKER.verifier}}),
    )
    assert result.result_class is ResultClass.DONE


async def test_it_speaks_with_an_ordinary_server() -> None:
    """A call to an aiohttp.web server that verifies and signs for real ends as done."""

    async def answered(request: web.Request) -> web.Response:
        verify_request(
            headers=request.raw_headers,
            method="POST",
            path=request.raw_path,
            body=await request.read(),
            keys=PublicKeys({CLIENT_ID: {"1": WORKER.verifier}}),
        )
        signature = sign_response(
            PAYSIDE,
            method="POST",
            path=request.raw_path,
            client_id=CLIENT_ID,
            time=RESPONSE_TIME,
            body=ALLOWED,
        )
        headers = {"Client-Id": CLIENT_ID, "Response-Time": RESPONSE_TIME, "Signature": signature}
        return web.Response(body=ALLOWED, headers=headers)

    app = web.Application()
    app.router.add_post(PATHS[Step.CONSULT], answered)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with hub_at(runner.addresses[0][1]) as hub:
            result = await hub.perform(call(Step.CONSULT), unbinding(), Gate())
    finally:
        await runner.cleanup()
    assert result.result_class is ResultClass.DONE
    assert (result.acquirer_id, result.psp_id) == ("acq-310", "psp-807")
    assert result.verified
    assert not result.undecided


@pytest.mark.parametrize(
    "reply",
    [
        http(result_body(), []),
        http(result_body(), signed(result_body(), signer=STRANGER)),
        http(result_body("F", "PROCESS_FAIL"), signed(result_body())),
        http(result_body(), signed(result_body(), path="/another/path")),
        http(result_body(), signed(result_body())[1:]),
        http(result_body(), signed(result_body(), client_id="ANOTHER")),
        http(
            result_body(),
            [
                *signed(result_body())[:1],
                ("Response-Time", "2025-11-23T03:00:02+00:00"),
                *signed(result_body())[2:],
            ],
        ),
        http(result_body(), [*signed(result_body()), signed(result_body())[2]]),
        http(result_body(), signed(result_body()), status=200).replace(b'"ok"', b'"ko"'),
    ],
    ids=[
        "unsigned",
        "stranger",
        "other-body",
        "other-path",
        "no-client",
        "other-client",
        "other-time",
        "twice",
        "changed",
    ],
)
async def test_an_answer_that_cannot_be_verified_is_no_answer(reply: bytes) -> None:
    """Neither S nor F is taken from an answer whose signature is missing or does not fit."""
    async with serving(Script([reply])) as port, hub_at(port) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert (result.result_class, result.outcome, result.code) == (
        ResultClass.SOON,
        Outcome.UNKNOWN,
        "UNVERIFIED_ANSWER",
    )
    assert result.undecided
    assert not result.verified


@pytest.mark.parametrize("status", [200, 302, 400, 404, 429, 500, 503])
async def test_a_verified_body_decides_whatever_the_status(status: int) -> None:
    """A signed S is done under any HTTP status."""
    async with serving(Script([answer(result_body(), status=status)])) as port, hub_at(port) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert result.result_class is ResultClass.DONE


@pytest.mark.parametrize(("status", "undecided"), [(429, False), (503, True)])
async def test_unsigned_429_and_503_ask_for_fewer_calls(status: int, *, undecided: bool) -> None:
    """Without a verified body they are slowly, with Retry-After; only 503 leaves the call undecided."""
    reply = http(b"busy", [("Retry-After", "120")], status=status)
    async with serving(Script([reply])) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=2), unbinding(), Gate())
    assert (result.result_class, result.code) == (ResultClass.SLOWLY, "SLOW_DOWN")
    assert result.retry_after_ms == 120_000
    assert result.undecided is undecided
    assert result.tries == 1


async def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    """A redirect with a cookie is no answer; the next call brings no cookie."""
    moved = http(b"", [("Location", "/elsewhere"), ("Set-Cookie", "a=b; Path=/")], status=307)
    script = Script([moved, answer(result_body())])
    async with serving(script) as port, hub_at(port) as hub:
        first = await hub.perform(call(), unbinding(), Gate())
        second = await hub.perform(call(), unbinding(), Gate())
    assert first.code == "UNVERIFIED_ANSWER"
    assert second.result_class is ResultClass.DONE
    assert len(script.received) == 2
    assert script.received[1].header(b"Cookie") is None


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """What was signed is what is on the wire: a body that claims to be gzip is verified raw."""
    body = result_body()
    reply = http(body, [*signed(body), ("Content-Encoding", "gzip")])
    async with serving(Script([reply])) as port, hub_at(port) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert result.result_class is ResultClass.DONE


async def test_a_verified_body_that_is_no_object_is_no_answer() -> None:
    """A signed answer that cannot be read proves the line and nothing else."""
    for body in (b"", b"[]", b'"S"', b"[" * 5000, b'{"result":1e999}', b"\xff"):
        async with serving(Script([answer(body)])) as port, hub_at(port) as hub:
            result = await hub.perform(call(), unbinding(), Gate())
        assert (result.result_class, result.code) == (ResultClass.SOON, "UNREADABLE_ANSWER")
        assert result.verified
        assert result.undecided


async def test_quick_tries_sign_anew_and_send_the_same_body() -> None:
    """U is tried again at once, with growing back-offs, the same bytes and a signature for each attempt."""
    naps, gate = Naps(), Gate()
    busy = answer(result_body("U", "UNKNOWN_EXCEPTION"))
    script = Script([busy, busy, answer(result_body())])
    async with serving(script) as port, hub_at(port, naps=naps) as hub:
        result = await hub.perform(call(quick=2), unbinding(), gate)
    assert result.result_class is ResultClass.DONE
    assert (result.tries, result.undecided, gate.passed) == (3, False, 3)
    assert naps.seconds == [pytest.approx(0.1), pytest.approx(0.2)]
    assert len({received.body for received in script.received}) == 1
    assert script.connections == 1


async def test_quick_tries_end_with_the_last_result() -> None:
    """When all tries bring U the result is U, with the number of tries, undecided."""
    script = Script([answer(result_body("U", "UNKNOWN_EXCEPTION"))])
    async with serving(script) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=2), unbinding(), Gate())
    assert (result.result_class, result.tries, result.undecided) == (ResultClass.SOON, 3, True)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("U", "REQUEST_TRAFFIC_EXCEED_LIMIT"),
        ("F", "PROCESS_FAIL"),
        ("F", "INVALID_SIGNATURE"),
        ("S", "SUCCESS"),
    ],
)
async def test_only_soon_is_tried_again(status: str, code: str) -> None:
    """Any class but soon ends the call at its first attempt."""
    script = Script([answer(result_body(status, code))])
    async with serving(script) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=2), unbinding(), Gate())
    assert (result.tries, len(script.received), result.undecided) == (1, 1, False)


@pytest.mark.parametrize(
    ("status", "code", "undecided"),
    [("F", "PROCESS_FAIL", False), ("U", "REQUEST_TRAFFIC_EXCEED_LIMIT", True)],
)
async def test_quick_tries_end_with_the_first_other_class(status: str, code: str, *, undecided: bool) -> None:
    """A try that brings another class than soon is the last; only a final one ends earlier doubt."""
    script = Script([answer(result_body("U", "UNKNOWN_EXCEPTION")), answer(result_body(status, code))])
    async with serving(script) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=5), unbinding(), Gate())
    assert (result.code, result.tries, result.undecided) == (code, 2, undecided)


async def test_a_wish_for_fewer_calls_slows_the_next_one() -> None:
    """After slowly the next attempt has to wait for its turn."""

    async def woken(_: float) -> None:
        raise InterruptedError

    script = Script([answer(result_body("U", "REQUEST_TRAFFIC_EXCEED_LIMIT"))])
    async with serving(script) as port, hub_at(port, naps=woken) as hub:
        await hub.perform(call(), unbinding(), Gate())
        with pytest.raises(InterruptedError):
            await hub.perform(call(), unbinding(), Gate())
    assert len(script.received) == 1


async def test_a_dead_token_is_success_only_after_an_own_undecided_try() -> None:
    """INVALID_TOKEN ends the saga well if our earlier try may have revoked it, else a person must look."""
    dead = answer(result_body("F", "INVALID_TOKEN"))
    busy = answer(result_body("U", "UNKNOWN_EXCEPTION"))
    limited = answer(result_body("U", "REQUEST_TRAFFIC_EXCEED_LIMIT"))
    async with serving(Script([dead])) as port, hub_at(port) as hub:
        alone = await hub.perform(call(), unbinding(), Gate())
        known = await hub.perform(call(undecided=True), unbinding(), Gate())
    async with serving(Script([busy, dead])) as port, hub_at(port) as hub:
        tried = await hub.perform(call(quick=1), unbinding(), Gate())
    async with serving(Script([limited, dead])) as port, hub_at(port) as hub:
        refused = await hub.perform(call(quick=1), unbinding(), Gate())
    assert (alone.result_class, alone.evidence) == (ResultClass.FINAL, None)
    for result in (known, tried):
        assert (result.result_class, result.evidence) == (ResultClass.DONE_ALREADY, Evidence.ALREADY_UNBOUND)
        assert not result.undecided
    assert (refused.result_class, refused.tries) == (ResultClass.SLOWLY, 1)


async def test_a_stopped_line_does_not_end_doubt() -> None:
    """After an undecided try, an answer about our keys leaves the call undecided."""
    script = Script(
        [answer(result_body("U", "UNKNOWN_EXCEPTION")), answer(result_body("F", "KEY_NOT_FOUND"))]
    )
    async with serving(script) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=1), unbinding(), Gate())
    assert (result.result_class, result.undecided) == (ResultClass.LINE_STOP, True)


async def test_a_gate_that_refuses_the_first_attempt_speaks_to_the_caller() -> None:
    """NotBegun comes out, and the server was not sent a byte."""
    sent: list[bytes] = []

    async def listening(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        sent.append(await reader.read())

    async with serving(listening) as port, hub_at(port) as hub:
        with pytest.raises(NotBegun):
            await hub.perform(call(quick=2), unbinding(), Gate(NotBegun()))
        await until(lambda: bool(sent))
    assert sent == [b""]


async def test_a_gate_that_refuses_a_quick_try_ends_the_tries() -> None:
    """The result so far is the result."""
    script = Script([answer(result_body("U", "UNKNOWN_EXCEPTION"))])
    gate = Gate(NotBegun(), after=1)
    async with serving(script) as port, hub_at(port) as hub:
        result = await hub.perform(call(quick=2), unbinding(), gate)
    assert (result.code, result.tries, result.undecided) == ("UNKNOWN_EXCEPTION", 1, True)
    assert len(script.received) == 1


async def test_a_fault_of_ours_is_not_swallowed() -> None:
    """An unexpected exception in the middle of an attempt comes out as it is."""
    async with serving(Script([answer(result_body())])) as port, hub_at(port) as hub:
        with pytest.raises(ZeroDivisionError):
            await hub.perform(call(quick=2), unbinding(), Gate(ZeroDivisionError()))


async def test_a_line_names_counterpart_and_client() -> None:
    """All steps at one client share its line."""
    async with serving(Script([b""])) as port, hub_at(port) as hub:
        as_port: Hub = hub
        assert as_port.line(Step.CONSULT) == as_port.line(Step.CANCEL_TOKEN) == f"hub:{CLIENT_ID}"
