"""Authorization Consult: get links with which the user can bind again. It revokes nothing.

Source: Antom Authorization Consult, old and present edition. The path in the settings chooses the edition;
the fields that we send are in both, and the answers and result codes of both are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from contracts.requests import RebindingRequested
from contracts.states import LINK_MAX, Outcome, Step
from contracts.wire import HTTP_URL
from worker.hub.apis.api import Api, Incomplete, Success
from worker.hub.errors import CallImpossible
from worker.hub.result_tables import ANSWERED, LINE_STOPS, SISTER_SPELLINGS, Row, table
from worker.saga.results import Links, ResultClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.hub.apis.api import Fields, Request
    from worker.saga.results import Call

_NAME: Final = "Authorization Consult (Antom)"
_F, _FINAL = Outcome.FAILURE, ResultClass.FINAL
_WEB: Final = re.compile(HTTP_URL)
_RUNS_OR_READS: Final = r"(?!(?i:javascript|vbscript|data|file|blob|about):)"
"""No app opens by these: a browser would run what follows, or read what is on the user's device."""
_ANY_SCHEME: Final = re.compile(_RUNS_OR_READS + r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20\x7f-\x9f]+")

_TABLE: Final = table(
    *ANSWERED,
    *LINE_STOPS,
    Row("ACCESS_DENIED", _F, ResultClass.LINE_STOP, "Our client may not ask this: ask the counterpart."),
    Row(
        "MERCHANT_NOT_REGISTERED",
        _F,
        _FINAL,
        "The merchant of authClientId is not registered at Antom: register it, then let the user try again.",
    ),
    Row("INVALID_ACCESS_TOKEN", _F, _FINAL, "A token is refused although none is sent: ask Antom."),
    Row(
        "NO_PAY_OPTIONS",
        _F,
        _FINAL,
        "No payment method can be offered: check customerBelongsTo and what is agreed with Antom.",
    ),
    Row("OAUTH_FAILED", _F, _FINAL, "The authorization failed at Antom: ask Antom, then begin anew."),
    Row(
        "PAYMENT_NOT_QUALIFIED",
        _F,
        _FINAL,
        "The merchant may not take such payments: check its registration and contract at Antom.",
    ),
    Row(
        "RISK_REJECT", _F, _FINAL, "Antom's risk control refused: do not ask again without asking Antom why."
    ),
    Row("SYSTEM_ERROR", _F, _FINAL, "Antom failed and forbids repeating: ask Antom, then begin anew."),
    *SISTER_SPELLINGS,
)


def _fields(_: Call, request: Request) -> Fields:
    if not isinstance(request, RebindingRequested):
        raise CallImpossible(f"{_NAME} needs a rebinding request")
    return {
        "customerBelongsTo": request.customer_belongs_to,
        "authClientId": request.auth_client_id,
        "authRedirectUrl": request.auth_redirect_url,
        "scopes": [scope.value for scope in request.scopes],
        "authState": request.auth_state,
        "terminalType": request.terminal_type.value,
        "osType": None if request.os_type is None else request.os_type.value,
        "osVersion": request.os_version,
    }


def _success(body: Mapping[str, Any], _: Request) -> Success | Incomplete:
    """Take the links that are well formed: ``authUrl`` of the old edition, the three of the present one.

    They go out to users as they are, so one that is not is left out; without any nothing was offered.
    """
    links = Links(
        auth_url=_link(body.get("authUrl"), form=_WEB),
        normal_url=_link(body.get("normalUrl"), form=_WEB),
        scheme_url=_link(body.get("schemeUrl"), form=_ANY_SCHEME),
        applink_url=_link(body.get("applinkUrl"), form=_WEB),
    )
    if links == Links():
        return Incomplete("none of authUrl, normalUrl, schemeUrl, applinkUrl is a well-formed link")
    return Success(links=links)


def _link(value: object, *, form: re.Pattern[str]) -> str | None:
    if not isinstance(value, str) or len(value) > LINK_MAX or not value.isprintable():
        return None
    return value if form.fullmatch(value) else None


AUTHORIZATION_CONSULT: Final = Api(
    name=_NAME, step=Step.OFFER, table=_TABLE, fields=_fields, success=_success
)
