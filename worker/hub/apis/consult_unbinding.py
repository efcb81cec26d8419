"""consultUnbinding: may the binding be ended from the wallet's side? It changes nothing.

Source: Alipay+ consultUnbinding, wallet (MPP) edition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from contracts.requests import UnbindingRequested
from contracts.states import Outcome, Step
from worker.hub.apis.api import Api, Incomplete, Success, plain_token, secret_of
from worker.hub.errors import CallImpossible
from worker.hub.result_tables import ANSWERED, LINE_STOPS, SISTER_SPELLINGS, Row, table
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.hub.apis.api import Fields, Request
    from worker.saga.results import Call

_NAME: Final = "consultUnbinding (Alipay+, wallet edition)"
_LONGEST_ID: Final = 64

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row(
        "ACCESS_DENIED",
        Outcome.FAILURE,
        ResultClass.LINE_STOP,
        "Our client may not ask this: ask the counterpart.",
    ),
    *SISTER_SPELLINGS,
)


def _fields(_: Call, request: Request) -> Fields:
    unbinding, token = plain_token(request, api=_NAME)
    if not unbinding.auth_client_id or not unbinding.reference_merchant_id:
        raise CallImpossible(f"{_NAME} needs authClientId and referenceMerchantId")
    return {
        "authClientId": unbinding.auth_client_id,
        "referenceMerchantId": unbinding.reference_merchant_id,
        "accessToken": token,
    }


def _success(body: Mapping[str, Any], request: Request) -> Success | Incomplete:
    """Read the permission. Neither ``"true"`` nor ``"false"`` (or JSON's own) is never a permission.

    A permission without ``acquirerId`` and ``pspId`` is none either: the document gives both with each
    ``SUCCESS``, and cancelToken (wallet edition) cannot be called without them. A request that brings its own
    makes up for them.
    """
    allowed = body.get("allowUnbinding")
    acquirer_id, psp_id = (_id(body.get(name), request) for name in ("acquirerId", "pspId"))
    if allowed is False or allowed == "false":
        return Success(
            result_class=ResultClass.REFUSED,
            acquirer_id=acquirer_id,
            psp_id=psp_id,
            refuse_reason=body.get("refuseReason"),
        )
    if allowed is not True and allowed != "true":
        return Incomplete('allowUnbinding is neither "true" nor "false"')
    carried = isinstance(request, UnbindingRequested) and request.acquirer_id and request.psp_id
    if not carried and (acquirer_id is None or psp_id is None):
        return Incomplete("allowed, but acquirerId or pspId is missing")
    return Success(acquirer_id=acquirer_id, psp_id=psp_id)


def _id(value: object, request: Request) -> str | None:
    """Take an id as documented (1 to 64 characters); it is kept and sent on, so it must be plain."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID or not value.isprintable():
        return None
    token = secret_of(request)
    return None if token and token in value else value


CONSULT_UNBINDING: Final = Api(name=_NAME, step=Step.CONSULT, table=_TABLE, fields=_fields, success=_success)
