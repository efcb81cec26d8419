"""cancelToken: revoke an access token and its refresh token; the token itself is the idempotency key.

Source: Alipay+ cancelToken, wallet (MPP) edition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contracts.states import Outcome, Step
from worker.hub.apis.api import Api, done, plain_token
from worker.hub.errors import CallImpossible
from worker.hub.result_tables import ANSWERED, LINE_STOPS, SISTER_SPELLINGS, Row, table
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from worker.hub.apis.api import Fields, Request
    from worker.saga.results import Call

_NAME: Final = "cancelToken (Alipay+, wallet edition)"
_NOT_KNOWN: Final = (
    "The token is not known (any more), and no attempt of ours can have ended it: it may have been "
    "refreshed. "
    "Find the binding's present token."
)

DEAD_TOKEN: Final = (
    Row("INVALID_TOKEN", Outcome.FAILURE, ResultClass.FINAL, _NOT_KNOWN, ResultClass.DONE_ALREADY),
    # The same as Antom revoke spells it.
    Row("INVALID_ACCESS_TOKEN", Outcome.FAILURE, ResultClass.FINAL, _NOT_KNOWN, ResultClass.DONE_ALREADY),
)
"""What both editions say of a token that is not known there (any more)."""

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row(
        "ACCESS_DENIED",
        Outcome.FAILURE,
        ResultClass.FINAL,
        "The token belongs to another acquirer, or we may not cancel it: compare acquirerId and pspId.",
    ),
    *DEAD_TOKEN,
    *SISTER_SPELLINGS,
)


def _fields(call: Call, request: Request) -> Fields:
    unbinding, token = plain_token(request, api=_NAME)
    # The consult's ids are the hub's own, and newer than the request's.
    psp_id = call.psp_id or unbinding.psp_id
    acquirer_id = call.acquirer_id or unbinding.acquirer_id
    if not psp_id or not acquirer_id:
        raise CallImpossible(f"{_NAME} needs pspId and acquirerId, from a consult or from the request")
    return {
        "pspId": psp_id,
        "acquirerId": acquirer_id,
        "accessToken": token,
        "passThroughInfo": unbinding.pass_through_info or None,
    }


CANCEL_TOKEN: Final = Api(name=_NAME, step=Step.CANCEL_TOKEN, table=_TABLE, fields=_fields, success=done)
