"""The checks at the door, in this order: path, method, media type, client, key, signature, time, fields.

Each refusal is a code of the result tables (Alipay+ consultUnbinding and cancelToken, wallet edition).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.sandbox.payment.apis.api import Api, IllegalFields
from worker.signing import (
    PublicKeys,
    SignatureError,
    UnknownClient,
    UnknownKey,
    skew_ms,
    verify_request,
)

VERIFIED: Final = "verified"
_MEDIA_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A request as it came over the wire: raw target, raw headers, raw body."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None
    """``None``: longer than the sandbox reads."""
    received_at: int

    def header(self, name: bytes) -> str | None:
        """Return the first header of this name (lower case), or ``None``."""
        for raw_name, value in self.headers:
            if raw_name.lower() == name:
                return value.decode("ascii", "replace").strip()
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A request that may be believed and read."""

    api: Api
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that ends at the door with ``F`` and this code."""

    api: Api | None
    code: str
    message: str


def examine(
    arrived: Arrived, *, apis: Mapping[str, Api], clients: PublicKeys, allowed_skew_ms: int | None
) -> Accepted | Refused:
    """Check one request; ``apis`` maps paths without query, ``clients`` is who may call."""
    api = apis.get(arrived.target.partition("?")[0])
    if api is None:
        return Refused(
            api=None, code="NO_INTERFACE_DEF", message="no API at this path: check URL and endpoint"
        )
    if arrived.method != "POST":
        return Refused(api=api, code="METHOD_NOT_SUPPORTED", message="use POST")
    media_type = arrived.header(b"content-type")
    if media_type is not None and not _is_json(media_type):
        return Refused(
            api=api, code="MEDIA_TYPE_NOT_ACCEPTABLE", message="use application/json; charset=UTF-8"
        )
    if arrived.body is None:
        return Refused(api=api, code="PARAM_ILLEGAL", message="body: longer than the sandbox reads")
    return _verify_and_read(arrived, api, body=arrived.body, clients=clients, allowed_skew_ms=allowed_skew_ms)


def _verify_and_read(
    arrived: Arrived, api: Api, *, body: bytes, clients: PublicKeys, allowed_skew_ms: int | None
) -> Accepted | Refused:
    try:
        verified = verify_request(
            headers=arrived.headers, method=arrived.method, path=arrived.target, body=body, keys=clients
        )
        skew = 0 if allowed_skew_ms is None else skew_ms(verified.time, now_at=arrived.received_at)
    except UnknownClient as error:
        return Refused(api=api, code="INVALID_CLIENT", message=str(error))
    except UnknownKey as error:
        return Refused(api=api, code="KEY_NOT_FOUND", message=str(error))
    except SignatureError as error:
        return Refused(api=api, code="INVALID_SIGNATURE", message=str(error))
    if allowed_skew_ms is not None and abs(skew) > allowed_skew_ms:
        return Refused(
            api=api, code="PARAM_ILLEGAL", message=f"Request-Time: {skew} ms off the sandbox's clock"
        )
    try:
        return Accepted(api=api, token=api.read_token(body))
    except IllegalFields as error:
        return Refused(api=api, code="PARAM_ILLEGAL", message=str(error))


def _is_json(media_type: str) -> bool:
    if media_type in {_MEDIA_TYPE, "application/json; charset=UTF-8"}:
        return True
    kind, *parameters = (part.strip().lower() for part in media_type.split(";"))
    charsets = [
        value.strip('"')
        for name, _, value in (part.partition("=") for part in parameters)
        if name == "charset"
    ]
    return kind == _MEDIA_TYPE and charsets in ([], ["utf-8"])
