"""What the sandbox needs to know of one API: where it is, how its body is read, what it can say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from contracts.states import Step
from worker.sandbox.payment.behaviour import Behaviour, Saying

Text32 = Annotated[str, StringConstraints(min_length=1, max_length=32)]
Text64 = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text128 = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text20000 = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]

_SUCCESS: Final = "SUCCESS"
_HUGE: Final = 1_000_000


class IllegalFields(Exception):
    """A body cannot be read; the text names fields and rules, never values."""


class WireBody(BaseModel):
    """A request body: every scalar is text, unknown fields are ignored, ``""`` is wrong."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)

    accessToken: Text128  # noqa: N815 - the name on the wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """The ids that the payment side gives out."""

    psp_id: str = "psp-807"
    acquirer_id: str = "acq-310"


@dataclass(frozen=True, slots=True)
class Words:
    """An answer's body, and what the ledger keeps of it."""

    body: bytes
    status: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API of the payment side: a table of what it can say, and how."""

    step: Step
    name: str
    path: str
    """Where it is found unless the configuration says otherwise."""
    revokes: bool
    body: type[WireBody]
    sayings: Mapping[Saying, Callable[[Behaviour, Parties], Words]]

    def read_token(self, raw: bytes) -> str:
        """Check a request body and return its token. Raises IllegalFields."""
        try:
            return self.body.model_validate_json(raw).accessToken
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
        named = [f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in problems]
        raise IllegalFields("; ".join(named)[:256])

    def speak(self, behaviour: Behaviour, parties: Parties) -> Words:
        """Make the body of an answer."""
        return self.sayings[behaviour.saying](behaviour, parties)


def result_words(status: str, code: str, message: str, **fields: str | bool) -> Words:
    """Make a body with the common result envelope (Alipay+ "API overview")."""
    result = {"resultCode": code, "resultStatus": status, "resultMessage": message[:256]}
    return Words(orjson.dumps({"result": result, **fields}), status, code)


def success(message: str, **fields: str | bool) -> Words:
    """Make a body that says ``S SUCCESS``."""
    return result_words("S", _SUCCESS, message, **fields)


def coded(behaviour: Behaviour, _parties: Parties) -> Words:
    """Say the status and code that the behaviour names."""
    return result_words(
        behaviour.status or "U", behaviour.code or "UNKNOWN_EXCEPTION", "as the sandbox was told"
    )


def _result_missing(_behaviour: Behaviour, _parties: Parties) -> Words:
    return Words(b'{"note":"an answer without a result"}')


def _garbage(_behaviour: Behaviour, _parties: Parties) -> Words:
    return Words(
        b"<html><head><title>Gateway</title></head><body>\x00\xff not what you asked for</body></html>\n"
    )


def _signed_garbage(_behaviour: Behaviour, _parties: Parties) -> Words:
    return Words(b'{"result":{"resultStatus":"S","resultCode":"SUCC')


def _empty(_behaviour: Behaviour, _parties: Parties) -> Words:
    return Words(b"")


def _huge(_behaviour: Behaviour, _parties: Parties) -> Words:
    return success("success", padding="x" * _HUGE)


def _nothing(behaviour: Behaviour, _parties: Parties) -> Words:
    return Words(f"HTTP {behaviour.http_status}\n".encode())


COMMON_SAYINGS: Final[Mapping[Saying, Callable[[Behaviour, Parties], Words]]] = {
    Saying.CODE: coded,
    Saying.RESULT_MISSING: _result_missing,
    Saying.GARBAGE: _garbage,
    Saying.SIGNED_GARBAGE: _signed_garbage,
    Saying.EMPTY: _empty,
    Saying.HUGE: _huge,
    Saying.NOTHING: _nothing,
}
"""What every API can say."""
