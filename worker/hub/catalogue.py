"""Which API serves a step, by the edition of cancelToken that a worker speaks."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from contracts.states import Step
from worker.hub.apis.auth_notify import AUTH_NOTIFY
from worker.hub.apis.authorization_consult import AUTHORIZATION_CONSULT
from worker.hub.apis.cancel_token import CANCEL_TOKEN
from worker.hub.apis.cancel_token_acquirer import CANCEL_TOKEN_ACQUIRER
from worker.hub.apis.consult_unbinding import CONSULT_UNBINDING
from worker.hub.apis.revoke import REVOKE
from worker.saga.plan import Edition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.hub.apis.api import Api

EVERY_API: Final = (
    CONSULT_UNBINDING,
    CANCEL_TOKEN,
    CANCEL_TOKEN_ACQUIRER,
    REVOKE,
    AUTH_NOTIFY,
    AUTHORIZATION_CONSULT,
)
"""All that the hub can speak, in the order in which a saga takes their steps."""

_CANCELS: Final[Mapping[Edition, Api]] = MappingProxyType(
    {Edition.WALLET: CANCEL_TOKEN, Edition.ACQUIRER: CANCEL_TOKEN_ACQUIRER, Edition.ANTOM: REVOKE}
)


def apis_of(edition: Edition) -> Mapping[Step, Api]:
    """Return the API of each step; only cancel_token has more than one edition."""
    return MappingProxyType(
        {
            Step.CONSULT: CONSULT_UNBINDING,
            Step.CANCEL_TOKEN: _CANCELS[edition],
            Step.NOTIFY_HUB: AUTH_NOTIFY,
            Step.OFFER: AUTHORIZATION_CONSULT,
        }
    )
