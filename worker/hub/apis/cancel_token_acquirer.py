"""cancelToken as an acquirer calls it: Alipay+ finds the wallet, which revokes token and refresh token.

Source: Alipay+ cancelToken, acquirer (ACQP) edition. Its result codes could not be read: that they are
those of the wallet edition is an assumption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contracts.states import Outcome, Step
from worker.hub.apis.api import Api, done, plain_token
from worker.hub.apis.cancel_token import DEAD_TOKEN
from worker.hub.errors import CallImpossible
from worker.hub.result_tables import ANSWERED, LINE_STOPS, SISTER_SPELLINGS, Row, table
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from worker.hub.apis.api import Fields, Request
    from worker.saga.results import Call

_NAME: Final = "cancelToken (Alipay+, acquirer edition)"

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row(
        "ACCESS_DENIED",
        Outcome.FAILURE,
        ResultClass.FINAL,
        "The token is not this auth client's, or we may not cancel it: compare authClientId with prepare's.",
    ),
    *DEAD_TOKEN,
    *SISTER_SPELLINGS,
)


def _fields(_: Call, request: Request) -> Fields:
    unbinding, token = plain_token(request, api=_NAME)
    if not unbinding.auth_client_id:
        raise CallImpossible(f"{_NAME} needs authClientId")
    return {
        "accessToken": token,
        "authClientId": unbinding.auth_client_id,
        "passThroughInfo": unbinding.pass_through_info,
    }


CANCEL_TOKEN_ACQUIRER: Final = Api(
    name=_NAME, step=Step.CANCEL_TOKEN, table=_TABLE, fields=_fields, success=done
)
