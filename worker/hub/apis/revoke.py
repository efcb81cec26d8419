"""revoke: a merchant at Antom revokes an access token; the token itself is the idempotency key.

Source: Antom "Authorization revocation". Of its result codes only a part could be read: the general ones, the
other spellings and ``SYSTEM_ERROR`` (which Authorization Consult has) are assumptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contracts.states import Outcome, Step
from worker.hub.apis.api import Api, done, plain_token
from worker.hub.result_tables import ANSWERED, LINE_STOPS, SISTER_SPELLINGS, Row, table
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from worker.hub.apis.api import Fields, Request
    from worker.saga.results import Call

_NAME: Final = "revoke (Antom)"
_F, _FINAL, _ALREADY = Outcome.FAILURE, ResultClass.FINAL, ResultClass.DONE_ALREADY
# Antom gives one code for all three; Alipay+ gives a second cancelToken the same SUCCESS.
_DEAD: Final = (
    "The token has expired, was revoked or never existed there, and no attempt of ours can have ended it: "
    "look whether the binding has another token."
)

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row(
        "ACCESS_DENIED",
        _F,
        _FINAL,
        "We may not revoke this token: see that it was given to this client, then ask Antom.",
    ),
    Row("INVALID_ACCESS_TOKEN", _F, _FINAL, _DEAD, _ALREADY),
    # The same as Alipay+ cancelToken spells it.
    Row("INVALID_TOKEN", _F, _FINAL, _DEAD, _ALREADY),
    Row("OAUTH_FAILED", _F, _FINAL, "The authorization failed at Antom: ask Antom whether the token lives."),
    Row("SYSTEM_ERROR", _F, _FINAL, "Antom failed and forbids repeating: ask Antom whether the token lives."),
    *SISTER_SPELLINGS,
)


def _fields(_: Call, request: Request) -> Fields:
    _unbinding, token = plain_token(request, api=_NAME)
    return {"accessToken": token}


REVOKE: Final = Api(name=_NAME, step=Step.CANCEL_TOKEN, table=_TABLE, fields=_fields, success=done)
