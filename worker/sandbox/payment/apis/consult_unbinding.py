"""consultUnbinding: may this token be revoked? Changes nothing (Alipay+ consultUnbinding, wallet edition)."""

from typing import Final

from contracts.states import Step
from worker.sandbox.payment.apis.api import (
    COMMON_SAYINGS,
    Api,
    Parties,
    Text32,
    Text64,
    WireBody,
    Words,
    result_words,
    success,
)
from worker.sandbox.payment.behaviour import Behaviour, Saying

_REASON: Final = "one bill is still open"


class ConsultBody(WireBody):
    """Fields of a consultUnbinding request."""

    authClientId: Text64  # noqa: N815 - the name on the wire
    referenceMerchantId: Text32  # noqa: N815 - the name on the wire


def _answer(parties: Parties, **fields: str | bool) -> Words:
    return success("success", acquirerId=parties.acquirer_id, pspId=parties.psp_id, **fields)


def _allow(_behaviour: Behaviour, parties: Parties) -> Words:
    return _answer(parties, allowUnbinding="true")


def _refuse(behaviour: Behaviour, parties: Parties) -> Words:
    return _answer(parties, allowUnbinding="false", refuseReason=behaviour.reason or _REASON)


def _missing(_behaviour: Behaviour, parties: Parties) -> Words:
    return _answer(parties)


def _odd(_behaviour: Behaviour, parties: Parties) -> Words:
    return _answer(parties, allowUnbinding="perhaps")


def _boolean(_behaviour: Behaviour, parties: Parties) -> Words:
    return _answer(parties, allowUnbinding=True)


def _never_issued(_behaviour: Behaviour, _parties: Parties) -> Words:
    # The document lists no token code for this API.
    return result_words("F", "PARAM_ILLEGAL", "accessToken: no such token")


CONSULT_UNBINDING: Final = Api(
    step=Step.CONSULT,
    name="consultUnbinding",
    path="/aps/api/v1/authorizations/consultUnbinding",
    revokes=False,
    body=ConsultBody,
    sayings={
        **COMMON_SAYINGS,
        Saying.ALLOW: _allow,
        Saying.REFUSE: _refuse,
        Saying.NEVER_ISSUED: _never_issued,
        Saying.PERMISSION_MISSING: _missing,
        Saying.PERMISSION_ODD: _odd,
        Saying.PERMISSION_BOOLEAN: _boolean,
    },
)
