"""The two signed calls of a saga, with as little around them as will do: for the floor and the stock designs.

Source of the messages: Alipay+ "Signature", consultUnbinding and cancelToken (wallet edition).
"""

from __future__ import annotations

import base64
import datetime as dt
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from worker.sandbox.payment import HUB_CLIENT, TOKENS_CLIENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.bench.errand import Errand

_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API as a client of it sees it."""

    path: str
    client_id: str


CONSULT: Final = Endpoint("/aps/api/v1/authorizations/consultUnbinding", HUB_CLIENT)
CANCEL: Final = Endpoint("/aps/api/v1/authorizations/cancelToken", TOKENS_CLIENT)


class WrongAnswer(Exception):
    """The payment side did not say yes, or somebody else answered."""


class BareSigner:
    """Signs requests and verifies answers. Raises what cryptography raises."""

    def __init__(self, errand: Errand) -> None:
        private = serialization.load_pem_private_key(errand.client_key.read_bytes(), password=None)
        public = serialization.load_pem_public_key(errand.hub_public_key.read_bytes())
        if not isinstance(private, RSAPrivateKey) or not isinstance(public, RSAPublicKey):
            raise TypeError("the sandbox's keys are RSA keys")
        self._private = private
        self._public = public

    def headers(self, endpoint: Endpoint, body: bytes) -> dict[str, str]:
        """Return the headers of a request, signed."""
        moment = _moment(int(time.time()))
        text = f"POST {endpoint.path}\n{endpoint.client_id}.{moment}.".encode() + body
        signature = quote(base64.b64encode(self._private.sign(text, _PADDING, _HASH)), safe="")
        return {
            "Content-Type": "application/json; charset=UTF-8",
            "Client-Id": endpoint.client_id,
            "Request-Time": moment,
            "Signature": f"algorithm=RSA256, keyVersion=1, signature={signature}",
        }

    def read(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return a verified success. Raises InvalidSignature or WrongAnswer."""
        encoded = headers["Signature"].rpartition("signature=")[2]
        text = f"POST {endpoint.path}\n{endpoint.client_id}.{headers['Response-Time']}.".encode() + body
        self._public.verify(base64.b64decode(unquote(encoded)), text, _PADDING, _HASH)
        answer: dict[str, Any] = orjson.loads(body)
        if answer["result"]["resultStatus"] != "S":
            raise WrongAnswer(f"{endpoint.path}: {answer['result']['resultCode']}")
        return answer


def consult_body(request: Mapping[str, str]) -> bytes:
    """Write the body of consultUnbinding."""
    return orjson.dumps(
        {
            "authClientId": request["authClientId"],
            "referenceMerchantId": request["referenceMerchantId"],
            "accessToken": request["accessToken"],
        }
    )


def cancel_body(request: Mapping[str, str], permission: Mapping[str, Any]) -> bytes:
    """Write the body of cancelToken; the permission names acquirer and PSP. Raises WrongAnswer."""
    if permission["allowUnbinding"] != "true":
        raise WrongAnswer("consultUnbinding: not allowed")
    return orjson.dumps(
        {
            "accessToken": request["accessToken"],
            "acquirerId": permission["acquirerId"],
            "pspId": permission["pspId"],
        }
    )


def state_event(binding_id: str, state: str) -> bytes:
    """Write a state as the floor and the stock designs publish it: less than ours says."""
    return orjson.dumps({"bindingId": binding_id, "state": state, "at": _moment(int(time.time()))})


@lru_cache(maxsize=4)
def _moment(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).isoformat()
