"""What the sandbox refuses at the door, with the codes of the payment side's tables."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.sandbox_payment.plain_client import (
    CANCEL,
    CONSULT,
    answer_fits,
    cancel_body,
    connected,
    consult_body,
    exchange,
    request_bytes,
    signed_headers,
    until,
)
from worker.sandbox.payment import TOKENS_CLIENT, Sandbox, SandboxConfig, sandbox

pytestmark = pytest.mark.wire

TOKEN = "tok_1"
BODY = cancel_body(TOKEN)


def changed(**fields: Any) -> bytes:
    """Return a cancelToken body with fields exchanged; ``None`` takes one out."""
    whole = json.loads(BODY) | fields
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


async def refusal(
    box: Sandbox, *, target: str = CANCEL, body: bytes = BODY, **headers: str
) -> tuple[str, str]:
    """Send a signed request with some headers exchanged; return status and code of the signed refusal."""
    sent = signed_headers(box, target=target, body=body) | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    heard = await exchange(box, target=target, body=body, headers=sent)
    assert answer_fits(heard, box.keys.hub_public, target=target)
    assert box.ledger.token(TOKEN).is_live
    assert box.ledger.calls()[-1].verification == heard.result[1]
    return heard.result


async def test_a_changed_body_is_an_invalid_signature(box: Sandbox) -> None:
    """One blank more in the body than was signed is INVALID_SIGNATURE, in a signed answer."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    heard = await exchange(box, target=CANCEL, body=BODY + b" ", headers=headers)
    assert heard.result == ("F", "INVALID_SIGNATURE")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL)
    assert box.ledger.calls()[0].fingerprint is None


async def test_the_signature_covers_the_raw_target(box: Sandbox) -> None:
    """Query and escapes are checked as they stand on the wire, not decoded or put in order."""
    target = f"{CANCEL}?b=%2C~&a=%7e"
    headers = signed_headers(box, target=target, body=BODY)
    heard = await exchange(box, target=target, body=BODY, headers=headers)
    assert heard.result == ("S", "SUCCESS")
    assert answer_fits(heard, box.keys.hub_public, target=target)
    other = f"{CANCEL}?b=,~&a=~"
    assert (await exchange(box, target=other, body=BODY, headers=headers)).result == (
        "F",
        "INVALID_SIGNATURE",
    )


async def test_the_signature_covers_the_raw_body(box: Sandbox) -> None:
    """A body with blanks, escapes and a line break is verified as it came."""
    body = b'{ "pspId":"p\\u0041",\r\n"acquirerId" : "a\\/b", "accessToken":"tok_1" }'
    headers = signed_headers(box, target=CANCEL, body=body)
    assert (await exchange(box, target=CANCEL, body=body, headers=headers)).result == ("S", "SUCCESS")
    assert not box.ledger.token(TOKEN).is_live


async def test_bare_base64_is_accepted(box: Sandbox) -> None:
    """A signature that is not percent-encoded fits as well: some clients send it so."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    headers["Signature"] = unquote(headers["Signature"])
    assert (await exchange(box, target=CANCEL, body=BODY, headers=headers)).result == ("S", "SUCCESS")


@pytest.mark.parametrize(
    "value", ["algorithm=RSA256, keyVersion=1, signature=AAAA", "nothing", "algorithm=none, signature="]
)
async def test_a_malformed_signature_is_invalid(box: Sandbox, value: str) -> None:
    """A Signature header that cannot be read is INVALID_SIGNATURE."""
    assert await refusal(box, Signature=value) == ("F", "INVALID_SIGNATURE")


async def test_an_unknown_client_is_invalid(box: Sandbox) -> None:
    """A Client-Id that nobody knows is INVALID_CLIENT, answered with the id that came."""
    assert await refusal(box, Client_Id="NOBODY") == ("F", "INVALID_CLIENT")


async def test_an_unknown_key_version_is_not_found(box: Sandbox) -> None:
    """A key version that the client does not have is KEY_NOT_FOUND."""
    signature = signed_headers(box, target=CANCEL, body=BODY, key_version="9")["Signature"]
    assert await refusal(box, Signature=signature) == ("F", "KEY_NOT_FOUND")


@pytest.mark.parametrize("name", ["Request-Time", "Signature"])
async def test_a_missing_header_is_an_invalid_signature(box: Sandbox, name: str) -> None:
    """A request without time or signature is INVALID_SIGNATURE."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    del headers[name]
    assert (await exchange(box, target=CANCEL, body=BODY, headers=headers)).result == (
        "F",
        "INVALID_SIGNATURE",
    )


async def test_without_a_client_id_the_refusal_is_unsigned(box: Sandbox) -> None:
    """Where no Client-Id came there is nothing to sign for: F without a signature."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    del headers["Client-Id"]
    heard = await exchange(box, target=CANCEL, body=BODY, headers=headers)
    assert heard.result == ("F", "INVALID_SIGNATURE")
    assert "signature" not in heard.headers


async def test_a_time_far_off_is_illegal(box: Sandbox) -> None:
    """A Request-Time ten minutes off is PARAM_ILLEGAL though the signature fits."""
    time = (datetime.now(UTC) - timedelta(minutes=10)).isoformat(timespec="seconds")
    headers = signed_headers(box, target=CANCEL, body=BODY, time=time)
    assert (await exchange(box, target=CANCEL, body=BODY, headers=headers)).result == ("F", "PARAM_ILLEGAL")


async def test_the_check_of_the_time_can_be_switched_off(key_directory: Path) -> None:
    """Without an allowed skew any time is taken."""
    async with sandbox(SandboxConfig(directory=key_directory, allowed_skew_ms=None)) as box:
        headers = signed_headers(box, target=CANCEL, body=BODY, time="2001-02-03T04:05:06Z")
        assert (await exchange(box, target=CANCEL, body=BODY, headers=headers)).result == ("S", "SUCCESS")


@pytest.mark.parametrize(
    "body",
    [
        changed(pspId=None),
        changed(acquirerId=None),
        changed(accessToken=None),
        changed(accessToken=""),
        changed(accessToken="t" * 129),
        changed(accessToken=7),
        changed(pspId="p" * 65),
        changed(passThroughInfo=""),
        changed(passThroughInfo="i" * 20_001),
        changed(passThroughInfo={"a": "b"}),
        b"[]",
        b"",
        b"\xff\xfe",
        b'{"pspId":',
    ],
)
async def test_bad_fields_are_illegal(box: Sandbox, body: bytes) -> None:
    """Missing, empty, too long and mistyped fields are PARAM_ILLEGAL."""
    assert await refusal(box, body=body) == ("F", "PARAM_ILLEGAL")


async def test_a_refusal_names_fields_and_no_values(box: Sandbox) -> None:
    """The message of PARAM_ILLEGAL names the field, never what stood in it."""
    body = changed(accessToken="secret" * 30)
    headers = signed_headers(box, target=CANCEL, body=body)
    heard = await exchange(box, target=CANCEL, body=body, headers=headers)
    assert "accessToken" in heard.json["result"]["resultMessage"]
    assert b"secret" not in heard.raw


async def test_the_limits_themselves_are_legal(box: Sandbox) -> None:
    """Fields as long as the tables allow, absent options as null, and unknown fields are taken."""
    body = changed(accessToken="é" * 128, pspId="p" * 64, passThroughInfo="i" * 20_000, more={"x": [1]})
    headers = signed_headers(box, target=CANCEL, body=body, client=TOKENS_CLIENT)
    assert (await exchange(box, target=CANCEL, body=body, headers=headers)).result == ("S", "SUCCESS")
    body = BODY[:-1] + b', "passThroughInfo": null}'
    headers = signed_headers(box, target=CANCEL, body=body)
    assert (await exchange(box, target=CANCEL, body=body, headers=headers)).result == ("S", "SUCCESS")


async def test_consult_needs_its_own_fields(box: Sandbox) -> None:
    """The body of a cancelToken is PARAM_ILLEGAL at consultUnbinding."""
    assert await refusal(box, target=CONSULT) == ("F", "PARAM_ILLEGAL")
    assert json.loads(consult_body(TOKEN))["authClientId"]


async def test_a_body_beyond_all_limits_is_illegal(box: Sandbox) -> None:
    """A body of more than a megabyte is refused without being read whole."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    heard = await exchange(box, target=CANCEL, body=b"x" * (1024 * 1024 + 1), headers=headers)
    assert heard.result == ("F", "PARAM_ILLEGAL")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_supported(box: Sandbox, method: str) -> None:
    """Any other method is METHOD_NOT_SUPPORTED, signed for that method."""
    headers = signed_headers(box, target=CANCEL, body=BODY, method=method)
    heard = await exchange(box, target=CANCEL, body=BODY, headers=headers, method=method)
    assert heard.result == ("F", "METHOD_NOT_SUPPORTED")
    assert answer_fits(heard, box.keys.hub_public, target=CANCEL, method=method)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_only_json_is_acceptable(box: Sandbox, media_type: str) -> None:
    """Another media type is MEDIA_TYPE_NOT_ACCEPTABLE."""
    assert await refusal(box, Content_Type=media_type) == ("F", "MEDIA_TYPE_NOT_ACCEPTABLE")


@pytest.mark.parametrize("media_type", [None, "application/json", 'Application/JSON;charset="utf-8"'])
async def test_json_may_be_named_or_not(box: Sandbox, media_type: str | None) -> None:
    """Content-Type may be absent, and is compared without regard to case."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    del headers["Content-Type"]
    if media_type is not None:
        headers["Content-Type"] = media_type
    assert (await exchange(box, target=CANCEL, body=BODY, headers=headers)).result == ("S", "SUCCESS")


@pytest.mark.parametrize("target", ["/", "/aps/api/v1/authorizations/consult", f"{CANCEL}/", CANCEL.upper()])
async def test_an_unknown_path_has_no_interface(box: Sandbox, target: str) -> None:
    """A path that is not exactly an API's is NO_INTERFACE_DEF."""
    assert await refusal(box, target=target) == ("F", "NO_INTERFACE_DEF")


async def test_half_a_request_is_no_call(box: Sandbox) -> None:
    """A caller that dies within its body leaves no call in the ledger, and others are served."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    async with connected(box) as (_reader, writer):
        writer.write(request_bytes(target=CANCEL, body=BODY, headers=headers)[:-5])
        await writer.drain()
    heard = await exchange(box, target=CANCEL, body=BODY, headers=headers)
    assert heard.result == ("S", "SUCCESS")
    await until(lambda: len(box.ledger) == 1)


@pytest.mark.parametrize("name", ["Signature", "Client-Id", "Request-Time"])
async def test_a_header_that_comes_twice_is_an_invalid_signature(box: Sandbox, name: str) -> None:
    """Two headers of one name leave open what was signed: refused."""
    headers = signed_headers(box, target=CANCEL, body=BODY)
    heard = await exchange(box, target=CANCEL, body=BODY, headers=headers | {name.lower(): headers[name]})
    assert heard.result == ("F", "INVALID_SIGNATURE")


async def test_a_client_id_that_cannot_be_signed_for_gets_an_unsigned_refusal(box: Sandbox) -> None:
    """A Client-Id with blanks is refused without a signature, and is not sent back."""
    headers = signed_headers(box, target=CANCEL, body=BODY) | {"Client-Id": "a b"}
    heard = await exchange(box, target=CANCEL, body=BODY, headers=headers)
    assert heard.result[0] == "F"
    assert heard.headers.keys().isdisjoint({"signature", "client-id"})
