"""Every behaviour, seen on the wire by a client of another make."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.sandbox_payment.plain_client import (
    CANCEL,
    CONSULT,
    Heard,
    answer_fits,
    cancel,
    cancel_body,
    connected,
    consult,
    request_bytes,
    signed_headers,
    until,
)
from worker.sandbox.payment import Ending, Sandbox, parse_rules

pytestmark = pytest.mark.wire

TOKEN = "tok_1"
SILENCE_S = 0.3


def told(box: Sandbox, do: str | list[str], **rule: Any) -> None:
    """Give the sandbox one rule."""
    box.rules = parse_rules({"rules": [{"do": do, **rule}]})


def ending_of_last(box: Sandbox) -> Ending | None:
    """Return how the last call ended, by the ledger."""
    end = box.ledger.ended(box.ledger.calls()[-1].number)
    return None if end is None else end.ended


def revoked(box: Sandbox) -> bool:
    """Tell whether the ledger has the token as revoked."""
    return not box.ledger.token(TOKEN).is_live


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_consult_allows_and_openssl_accepts_the_answer(box: Sandbox, *, tls: bool) -> None:
    """Without rules consult says yes, signed so that OpenSSL accepts it, over HTTP and HTTPS."""
    heard = await consult(box, TOKEN, tls=tls)
    assert heard.result == ("S", "SUCCESS")
    assert heard.json["allowUnbinding"] == "true"
    assert (heard.json["pspId"], heard.json["acquirerId"]) == ("psp-807", "acq-310")
    assert answer_fits(heard, box.keys.hub_public, target=CONSULT)
    assert not revoked(box)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_cancel_revokes_and_the_same_token_gets_the_same_answer(box: Sandbox, *, tls: bool) -> None:
    """A cancelToken revokes once; a repetition gets the same body and changes nothing."""
    first = await cancel(box, TOKEN, tls=tls)
    revoked_at = box.ledger.token(TOKEN).revoked_at
    second = await cancel(box, TOKEN, tls=tls)
    assert first.result == ("S", "SUCCESS")
    assert second.body == first.body
    assert answer_fits(second, box.keys.hub_public, target=CANCEL)
    assert box.ledger.token(TOKEN).revoked_at == revoked_at
    assert [call.effect for call in box.ledger.calls(token=TOKEN)] == [True, False]


async def test_consult_of_a_dead_token_is_refused_as_illegal(box: Sandbox) -> None:
    """Who asks again after a revoke gets F PARAM_ILLEGAL, and the ledger counts it."""
    await cancel(box, TOKEN)
    assert (await consult(box, TOKEN)).result == ("F", "PARAM_ILLEGAL")
    assert box.ledger.token(TOKEN).asked_after_revoke == 1


async def test_consult_of_a_dead_token_can_be_told_to_allow(box: Sandbox) -> None:
    """What consult says of a dead token is a rule."""
    box.rules = parse_rules({"revoked_consult": "allow"})
    await cancel(box, TOKEN)
    assert (await consult(box, TOKEN)).json["allowUnbinding"] == "true"


async def test_consult_refuses_with_the_reason(box: Sandbox) -> None:
    """A refusal is S SUCCESS with allowUnbinding "false" and the reason; cancelToken knows no refusal."""
    told(box, "refuse a contract runs until May")
    heard = await consult(box, TOKEN)
    assert heard.result == ("S", "SUCCESS")
    assert (heard.json["allowUnbinding"], heard.json["refuseReason"]) == (
        "false",
        "a contract runs until May",
    )
    assert (await cancel(box, TOKEN)).result == ("S", "SUCCESS")


@pytest.mark.parametrize(
    ("do", "result"),
    [
        ("F", ("F", "PROCESS_FAIL")),
        ("F RISK_REJECT", ("F", "RISK_REJECT")),
        ("U", ("U", "UNKNOWN_EXCEPTION")),
        ("U REQUEST_TRAFFIC_EXCEED_LIMIT", ("U", "REQUEST_TRAFFIC_EXCEED_LIMIT")),
        ("S PROCESS_FAIL", ("S", "PROCESS_FAIL")),
        ("U SUCCESS", ("U", "SUCCESS")),
        ("never issued", ("F", "INVALID_TOKEN")),
    ],
)
async def test_cancel_says_any_status_with_any_code_and_revokes_nothing(
    box: Sandbox, do: str, result: tuple[str, str]
) -> None:
    """Failures, unknowns and contradictions leave properly signed, and the token lives on."""
    told(box, do)
    heard = await cancel(box, TOKEN)
    assert heard.result == result
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert not revoked(box)


async def test_an_unknown_that_was_done_revokes(box: Sandbox) -> None:
    """`U + done` answers U though the token is dead."""
    told(box, "U + done")
    assert (await cancel(box, TOKEN)).result == ("U", "UNKNOWN_EXCEPTION")
    assert revoked(box)


async def test_a_script_takes_its_turns_per_token(box: Sandbox) -> None:
    """`U 2 times then S` answers U, U, S, S; another token begins anew."""
    told(box, "U 2 times then S", api="cancel_token")
    assert [(await cancel(box, TOKEN)).result[0] for _ in range(4)] == ["U", "U", "S", "S"]
    assert (await cancel(box, "tok_2")).result[0] == "U"
    assert (await consult(box, "tok_3")).result[0] == "S"


@pytest.mark.parametrize(
    ("do", "value"),
    [("permission missing", None), ("permission odd", "perhaps"), ("permission boolean", True)],
)
async def test_consult_gives_odd_permissions(box: Sandbox, do: str, value: object) -> None:
    """A consult can leave allowUnbinding out, or give it as nonsense or as a JSON boolean."""
    told(box, do)
    assert (await consult(box, TOKEN)).json.get("allowUnbinding") == value


async def test_an_answer_without_a_result_is_signed(box: Sandbox) -> None:
    """`result missing` is signed JSON without a result."""
    told(box, "result missing")
    heard = await cancel(box, TOKEN)
    assert "result" not in heard.json
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("do", "ended", "written", "dead"),
    [
        ("hang", "silence", Ending.CLIENT_LEFT, False),
        ("hang + done", "silence", Ending.CLIENT_LEFT, True),
        ("reset", "reset", Ending.RESET, False),
        ("reset after done", "reset", Ending.RESET, True),
        ("lost", "closed", Ending.LOST, True),
    ],
)
async def test_no_answer_leaves(
    box: Sandbox, do: str, ended: str, written: Ending, *, dead: bool, tls: bool
) -> None:
    """Hanging, RST and closing send no byte; the token is dead only where the behaviour says so."""
    told(box, do)
    heard = await cancel(box, TOKEN, tls=tls, within_s=SILENCE_S if do.startswith("hang") else 10)
    assert heard.raw == b""
    assert heard.ended == ended
    await until(lambda: ending_of_last(box) is written)
    assert revoked(box) is dead
    assert box.ledger.calls()[-1].says_status is None


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_half_answer_promises_more_than_it_sends(box: Sandbox, *, tls: bool) -> None:
    """`half answer` cuts the body in the middle and closes; the token is dead."""
    told(box, "half answer")
    heard = await cancel(box, TOKEN, tls=tls)
    assert heard.ended == "closed"
    assert len(heard.body) == int(heard.headers["content-length"]) // 2
    assert revoked(box)
    await until(lambda: ending_of_last(box) is Ending.HALF)


async def test_a_trickled_answer_comes_byte_by_byte(box: Sandbox) -> None:
    """`trickle 1` sends the whole, signed answer in pieces; a slow one outlasts its caller."""
    told(box, "trickle 1 then trickle 60000")
    heard = await cancel(box, TOKEN)
    assert heard.result == ("S", "SUCCESS")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    slow = await cancel(box, TOKEN, within_s=SILENCE_S)
    assert (slow.ended, len(slow.body)) == ("silence", 1)
    await until(lambda: ending_of_last(box) is Ending.CLIENT_LEFT)


async def test_junk_is_not_http(box: Sandbox) -> None:
    """`junk` sends bytes that no HTTP client can read, then closes."""
    told(box, "junk")
    heard = await cancel(box, TOKEN)
    assert heard.raw
    assert not heard.raw.startswith(b"HTTP/")
    assert heard.ended == "closed"
    assert not revoked(box)


async def test_garbage_is_html_without_a_signature(box: Sandbox) -> None:
    """`garbage` is what a proxy would say: HTML, status 200, unsigned."""
    told(box, "garbage")
    heard = await cancel(box, TOKEN)
    assert heard.status == 200
    assert heard.headers["content-type"] == "text/html"
    assert heard.body.startswith(b"<html>")
    assert "signature" not in heard.headers


async def test_signed_garbage_is_signed_and_no_json(box: Sandbox) -> None:
    """`signed garbage` passes the check of the signature and cannot be parsed."""
    told(box, "signed garbage")
    heard = await cancel(box, TOKEN)
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    with pytest.raises(ValueError, match="Unterminated"):
        _ = heard.json


async def _sealed(box: Sandbox, do: str) -> Heard:
    told(box, do)
    heard = await cancel(box, TOKEN)
    assert heard.result == ("S", "SUCCESS")
    assert revoked(box)
    return heard


async def test_a_wrong_signature_does_not_fit(box: Sandbox) -> None:
    """`wrong signature` is well-formed and OpenSSL refuses it."""
    heard = await _sealed(box, "wrong signature")
    assert not answer_fits(heard, box.keys.hub_public, target=CANCEL)


async def test_an_unsigned_answer_has_no_signature(box: Sandbox) -> None:
    """`unsigned` leaves the Signature header out and keeps the others."""
    heard = await _sealed(box, "unsigned")
    assert "signature" not in heard.headers
    assert {"client-id", "response-time"} <= heard.headers.keys()


async def test_an_old_key_version_is_named_and_used(box: Sandbox) -> None:
    """`old key version` names version 0 and fits the hub's former key only."""
    heard = await _sealed(box, "old key version")
    assert "keyVersion=0" in heard.headers["signature"]
    assert answer_fits(heard, box.keys.hub_old_public, target=CANCEL)
    assert not answer_fits(heard, box.keys.hub_public, target=CANCEL)


async def test_a_wrong_client_id_is_signed_for_that_client(box: Sandbox) -> None:
    """`wrong client id` is a genuine signature for somebody else."""
    heard = await _sealed(box, "wrong client id")
    assert heard.headers["client-id"] == "SANDBOX_SOMEBODY_ELSE"
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert not answer_fits(heard, box.keys.hub_public, target=CANCEL, client="SANDBOX_HUB_CLIENT_01")


async def test_a_wrong_time_header_breaks_the_signature(box: Sandbox) -> None:
    """`wrong time header` sends another Response-Time than was signed."""
    heard = await _sealed(box, "wrong time header")
    assert not answer_fits(heard, box.keys.hub_public, target=CANCEL)


async def test_a_wrong_path_is_signed_for_that_path(box: Sandbox) -> None:
    """`wrong path` is a genuine signature for another API's answer."""
    heard = await _sealed(box, "wrong path")
    assert not answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert answer_fits(heard, box.keys.hub_public, target="/sandbox/some/other/api")


@pytest.mark.parametrize(
    ("do", "missing"), [("no client id", "client-id"), ("no time header", "response-time")]
)
async def test_a_header_that_is_signed_can_be_left_out(box: Sandbox, do: str, missing: str) -> None:
    """The other headers are there, and the signature covers what is missing."""
    heard = await _sealed(box, do)
    assert {"client-id", "response-time", "signature"} - heard.headers.keys() == {missing}


async def test_the_clock_of_the_payment_side_can_be_off(box: Sandbox) -> None:
    """`clock off -7200` signs rightly, with a Response-Time of two hours ago."""
    heard = await _sealed(box, "clock off -7200")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    said = datetime.fromisoformat(heard.headers["response-time"])
    assert 7190 < (datetime.now(UTC) - said).total_seconds() < 7290


async def test_an_empty_answer_is_signed_without_a_body(box: Sandbox) -> None:
    """`empty` has a signature that fits no bytes at all."""
    told(box, "empty")
    heard = await cancel(box, TOKEN)
    assert heard.body == b""
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert not revoked(box)


async def test_a_huge_answer_is_a_megabyte(box: Sandbox) -> None:
    """`huge` says S in a megabyte, properly signed, and revokes only with `done`."""
    told(box, "huge + done")
    heard = await cancel(box, TOKEN)
    assert len(heard.body) > 1_000_000
    assert heard.result == ("S", "SUCCESS")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert revoked(box)


async def test_odd_chunks_are_no_http(box: Sandbox) -> None:
    """`odd chunks` promises chunks and sends none that can be read, then closes."""
    told(box, "odd chunks")
    async with connected(box) as (reader, writer):
        body = cancel_body(TOKEN)
        headers = signed_headers(box, target=CANCEL, body=body)
        writer.write(request_bytes(target=CANCEL, body=body, headers=headers))
        raw = await asyncio.wait_for(reader.read(), 10)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert not revoked(box)


async def test_an_overlong_answer_goes_on_after_its_end(box: Sandbox) -> None:
    """`overlong` sends the whole answer, and a Content-Length of half of it."""
    told(box, "overlong")
    heard = await cancel(box, TOKEN)
    assert int(heard.headers["content-length"]) == len(heard.body) // 2
    assert heard.result == ("S", "SUCCESS")
    assert revoked(box)


async def test_an_interim_answer_comes_first(box: Sandbox) -> None:
    """`interim` says 100 Continue, and then the whole, signed answer."""
    told(box, "interim")
    async with connected(box) as (reader, writer):
        body = cancel_body(TOKEN)
        headers = signed_headers(box, target=CANCEL, body=body)
        writer.write(request_bytes(target=CANCEL, body=body, headers=headers))
        first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        second = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert revoked(box)


async def test_a_redirect_names_the_same_api(box: Sandbox) -> None:
    """`redirect` is an unsigned 307 with a Location, and revokes nothing."""
    told(box, "redirect")
    heard = await cancel(box, TOKEN)
    assert (heard.status, heard.headers["location"]) == (307, CANCEL)
    assert "signature" not in heard.headers
    assert not revoked(box)


@pytest.mark.parametrize("after", ["-5", "Fri, 31 Dec 2999 23:59:59 GMT", "soon"])
async def test_retry_after_can_say_anything(box: Sandbox, after: str) -> None:
    """`after TEXT` is the header Retry-After, word for word."""
    told(box, f"http 503 + after {after}")
    heard = await cancel(box, TOKEN)
    assert (heard.status, heard.headers["retry-after"]) == (503, after)


@pytest.mark.parametrize(
    ("do", "status", "after"), [("429 7", 429, "7"), ("503 1", 503, "1"), ("http 500", 500, None)]
)
async def test_a_bare_status_is_plain_text(box: Sandbox, do: str, status: int, after: str | None) -> None:
    """A status without words is unsigned, with the Retry-After asked for, and revokes nothing."""
    told(box, do)
    heard = await cancel(box, TOKEN)
    assert (heard.status, heard.headers.get("retry-after")) == (status, after)
    assert "signature" not in heard.headers
    assert not revoked(box)


async def test_a_status_with_words_is_signed(box: Sandbox) -> None:
    """`503 5 + U …` is a signed body under a 503."""
    told(box, "503 5 + U REQUEST_TRAFFIC_EXCEED_LIMIT")
    heard = await cancel(box, TOKEN)
    assert (heard.status, heard.headers["retry-after"]) == (503, "5")
    assert heard.result == ("U", "REQUEST_TRAFFIC_EXCEED_LIMIT")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)


async def test_slow_answers_come_late_and_revoke_at_once(box: Sandbox) -> None:
    """`slow` revokes when the call comes and answers so many milliseconds later."""
    told(box, "slow 150 ms", token=TOKEN)
    heard = await cancel(box, TOKEN)
    assert heard.result == ("S", "SUCCESS")
    call = box.ledger.calls()[-1]
    end = box.ledger.ended(call.number)
    assert end is not None
    assert end.ended_at - call.received_at >= 149
    assert box.ledger.token(TOKEN).revoked_at == call.received_at


async def test_latency_for_all_delays_every_answer(box: Sandbox) -> None:
    """latency_ms of the rules is added to each answer, faults included."""
    box.rules = parse_rules({"latency_ms": 100, "rules": [{"do": "lost", "api": "cancel_token"}]})
    assert (await consult(box, TOKEN)).result == ("S", "SUCCESS")
    assert (await cancel(box, TOKEN)).ended == "closed"
    ends = [box.ledger.ended(call.number) for call in box.ledger.calls()]
    took = [
        end.ended_at - call.received_at for call, end in zip(box.ledger.calls(), ends, strict=True) if end
    ]
    assert len(took) == 2
    assert min(took) >= 99


async def test_two_calls_of_one_token_in_flight_are_an_overlap(box: Sandbox) -> None:
    """A call that comes while another of its token is in flight names it; others do not."""
    told(box, "hang 1 time then allow")
    body = cancel_body(TOKEN)
    headers = signed_headers(box, target=CANCEL, body=body)
    async with connected(box) as (_reader, writer):
        writer.write(request_bytes(target=CANCEL, body=body, headers=headers))
        await until(lambda: len(box.ledger) == 1)
        assert box.ledger.token(TOKEN).in_flight == {1}
        await cancel(box, TOKEN)
    await until(lambda: not box.ledger.token(TOKEN).in_flight)
    await cancel(box, TOKEN)
    assert [call.overlaps for call in box.ledger.calls(token=TOKEN)] == [(), (1,), ()]
    assert box.ledger.token(TOKEN).overlapping == 1


async def test_a_rate_hits_its_fraction_and_the_same_calls_each_time(box: Sandbox) -> None:
    """A rate is decided by seed, token and call, not by the order of arrival."""
    told(box, "F", rate=0.5)
    tokens = [f"tok_{number}" for number in range(24)]
    first = {token: (await cancel(box, token)).result[0] for token in tokens}
    box.ledger.reset()
    again = {token: (await cancel(box, token)).result[0] for token in reversed(tokens)}
    assert first == again
    assert set(first.values()) == {"S", "F"}


async def test_a_hanging_call_disturbs_nobody(box: Sandbox) -> None:
    """Others are answered while a call hangs; it ends when its caller leaves."""
    told(box, "hang", token=TOKEN)
    hanging = asyncio.create_task(cancel(box, TOKEN))
    await until(lambda: len(box.ledger) == 1)
    assert (await cancel(box, "tok_2")).result == ("S", "SUCCESS")
    hanging.cancel()
    await asyncio.wait([hanging])
    await until(lambda: ending_of_first(box) is Ending.CLIENT_LEFT)


def ending_of_first(box: Sandbox) -> Ending | None:
    """Return how the first call ended, by the ledger."""
    end = box.ledger.ended(1)
    return None if end is None else end.ended
