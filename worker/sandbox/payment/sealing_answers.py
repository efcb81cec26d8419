"""The headers of an answer, with its signature: a right one, or one of the flaws that were asked for."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from worker.sandbox.payment.behaviour import Behaviour, Leaving, Saying, Seal
from worker.sandbox.payment.keys import KEY_VERSION, OLD_KEY_VERSION, HubKeys
from worker.signing import SignatureMalformed, sign_response

OTHER_CLIENT: Final = "SANDBOX_SOMEBODY_ELSE"
OTHER_PATH: Final = "/sandbox/some/other/api"

_JSON: Final = "application/json; charset=UTF-8"
_UNSIGNED_TYPES: Final = {Saying.GARBAGE: "text/html", Saying.NOTHING: "text/plain; charset=UTF-8"}


def answer_headers(
    behaviour: Behaviour,
    *,
    body: bytes,
    method: str,
    target: str,
    client_id: str | None,
    keys: HubKeys,
    now_at: int,
) -> dict[str, str]:
    """Make the headers of an answer to a request with this method, raw target and Client-Id.

    Without a client id that can be signed for (none came, or none in a signable form) the answer is unsigned.
    """
    headers: dict[str, str] = {}
    if behaviour.retry_after is not None:
        headers["Retry-After"] = behaviour.retry_after
    if behaviour.leaving is Leaving.REDIRECTED:
        headers["Location"] = target
    if behaviour.saying in _UNSIGNED_TYPES:
        return headers | {"Content-Type": _UNSIGNED_TYPES[behaviour.saying]}
    headers["Content-Type"] = _JSON
    now_at += behaviour.clock_off_s * 1000
    if behaviour.seal is not Seal.NO_TIME:
        headers["Response-Time"] = _time_text(now_at // 1000)
    if client_id is None:
        return headers
    if behaviour.seal is Seal.OTHER_CLIENT:
        client_id = OTHER_CLIENT

    def sign(*, signed_body: bytes, time: str, old: bool = False) -> str:
        return sign_response(
            keys.old_signer if old else keys.signer,
            method=method,
            path=OTHER_PATH if behaviour.seal is Seal.OTHER_PATH else target,
            client_id=client_id,
            time=time,
            body=signed_body,
            key_version=OLD_KEY_VERSION if old else KEY_VERSION,
        )

    try:
        signature = _signature(behaviour.seal, sign, body=body, now_at=now_at)
    except SignatureMalformed:
        # A method, path or client id that no signature can cover: answer all the same, unsigned.
        return headers
    if behaviour.seal is not Seal.NO_CLIENT:
        headers["Client-Id"] = client_id
    if signature is not None:
        headers["Signature"] = signature
    return headers


def _signature(seal: Seal, sign: Callable[..., str], *, body: bytes, now_at: int) -> str | None:
    time = _time_text(now_at // 1000)
    if seal is Seal.MISSING:
        return None
    if seal is Seal.WRONG:
        return sign(signed_body=body + b" ", time=time)
    if seal is Seal.OTHER_TIME:
        return sign(signed_body=body, time=_time_text(now_at // 1000 + 1))
    return sign(signed_body=body, time=time, old=seal is Seal.OLD_KEY)


@lru_cache(maxsize=4)
def _time_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()
