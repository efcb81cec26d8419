"""authNotify ``TOKEN_CANCELED``: announce a token that the wallet has revoked by itself.

Source: Alipay+ authNotify, wallet (MPP) edition. Its result codes, and which fields ``TOKEN_CANCELED`` needs,
could not be read: that the codes are those of consultUnbinding, and the fields these, are assumptions. The
``acquirerId`` and ``pspId`` of the answer are not needed: no step comes after it.
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

_NAME: Final = "authNotify (Alipay+, wallet edition)"

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row(
        "ACCESS_DENIED",
        Outcome.FAILURE,
        ResultClass.LINE_STOP,
        "Our client may not announce this: ask the counterpart.",
    ),
    *SISTER_SPELLINGS,
)


def _fields(_: Call, request: Request) -> Fields:
    unbinding, token = plain_token(request, api=_NAME)
    if not unbinding.auth_client_id or not unbinding.reference_merchant_id:
        raise CallImpossible(f"{_NAME} needs authClientId and referenceMerchantId")
    return {
        "authorizationNotifyType": "TOKEN_CANCELED",
        "authClientId": unbinding.auth_client_id,
        "referenceMerchantId": unbinding.reference_merchant_id,
        "accessToken": token,
    }


AUTH_NOTIFY: Final = Api(name=_NAME, step=Step.NOTIFY_HUB, table=_TABLE, fields=_fields, success=done)
