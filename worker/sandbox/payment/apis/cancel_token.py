"""cancelToken: revoke; the same token gives the same success again (Alipay+ cancelToken, wallet edition)."""

from typing import Final

from contracts.states import Step
from worker.sandbox.payment.apis.api import (
    COMMON_SAYINGS,
    Api,
    Parties,
    Text64,
    Text20000,
    WireBody,
    Words,
    result_words,
    success,
)
from worker.sandbox.payment.behaviour import Behaviour, Saying


class CancelBody(WireBody):
    """Fields of a cancelToken request; the token is the idempotency key."""

    pspId: Text64  # noqa: N815 - the name on the wire
    acquirerId: Text64  # noqa: N815 - the name on the wire
    passThroughInfo: Text20000 | None = None  # noqa: N815 - the name on the wire


def _allow(_behaviour: Behaviour, _parties: Parties) -> Words:
    # The same words the first time and ever after: a repeated cancel must get the same result.
    return success("token revoked")


def _never_issued(_behaviour: Behaviour, _parties: Parties) -> Words:
    return result_words("F", "INVALID_TOKEN", "accessToken: no such token")


CANCEL_TOKEN: Final = Api(
    step=Step.CANCEL_TOKEN,
    name="cancelToken",
    path="/aps/api/v1/authorizations/cancelToken",
    revokes=True,
    body=CancelBody,
    sayings={
        **COMMON_SAYINGS,
        Saying.ALLOW: _allow,
        Saying.NEVER_ISSUED: _never_issued,
    },
)
