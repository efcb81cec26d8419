from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.states import Step
from tests.hub.payside import TOKEN, call, rebinding, request_of, unbinding
from worker.hub.apis.auth_notify import AUTH_NOTIFY
from worker.hub.apis.authorization_consult import AUTHORIZATION_CONSULT
from worker.hub.apis.cancel_token import CANCEL_TOKEN
from worker.hub.apis.cancel_token_acquirer import CANCEL_TOKEN_ACQUIRER
from worker.hub.apis.consult_unbinding import CONSULT_UNBINDING
from worker.hub.apis.revoke import REVOKE
from worker.hub.catalogue import EVERY_API
from worker.hub.errors import CallImpossible

if TYPE_CHECKING:
    from worker.hub.apis.api import Api, Request

WITH_A_TOKEN = [api for api in EVERY_API if api.step is not Step.OFFER]


def message(api: Api, request: Request) -> dict[str, Any]:
    """Return the fields that would be sent."""
    return {name: content for name, content in api.fields(call(api.step), request).items() if content}


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        (CONSULT_UNBINDING, {"authClientId": "ac-7781", "referenceMerchantId": "rm-0042"}),
        (CANCEL_TOKEN, {"pspId": "psp-807", "acquirerId": "acq-310", "passThroughInfo": "k=v"}),
        (CANCEL_TOKEN_ACQUIRER, {"authClientId": "ac-7781", "passThroughInfo": "k=v"}),
        (REVOKE, {}),
        (
            AUTH_NOTIFY,
            {
                "authorizationNotifyType": "TOKEN_CANCELED",
                "authClientId": "ac-7781",
                "referenceMerchantId": "rm-0042",
            },
        ),
    ],
)
def test_a_message_about_a_token_has_the_fields_of_its_edition(api: Api, fields: dict[str, str]) -> None:
    """Besides the token each API gets what its document names, and nothing of another edition."""
    assert message(api, unbinding(pass_through_info="k=v")) == {"accessToken": TOKEN} | fields


@pytest.mark.parametrize("api", [CANCEL_TOKEN, CANCEL_TOKEN_ACQUIRER])
def test_nothing_is_passed_through_where_nothing_came(api: Api) -> None:
    """Without passThroughInfo in the request the message has none."""
    assert "passThroughInfo" not in message(api, unbinding())


def test_authorization_consult_has_the_fields_of_both_editions() -> None:
    """Scopes are an array, all else is text."""
    assert message(AUTHORIZATION_CONSULT, rebinding()) == {
        "customerBelongsTo": "ALIPAY_HK",
        "authClientId": "rm-0042",
        "authRedirectUrl": "https://shop.example/back",
        "scopes": ["BASE_USER_INFO", "AGREEMENT_PAY"],
        "authState": TOKEN,
        "terminalType": "APP",
        "osType": "ANDROID",
        "osVersion": "14",
    }


def test_authorization_consult_leaves_out_what_the_request_has_not() -> None:
    """At a browser there is no osType and no osVersion; a caller without merchants has no authClientId."""
    request = rebinding(auth_client_id=None, terminal_type="WEB", os_type=None, os_version=None)
    assert set(message(AUTHORIZATION_CONSULT, request)) == {
        "customerBelongsTo",
        "authRedirectUrl",
        "scopes",
        "authState",
        "terminalType",
    }


def test_the_ids_of_the_consult_come_before_those_of_the_request() -> None:
    """CancelToken is called with what the hub itself said last."""
    request = unbinding(psp_id="old-psp", acquirer_id="old-acq")
    assert CANCEL_TOKEN.fields(call(), request)["pspId"] == "psp-807"
    assert CANCEL_TOKEN.fields(call(acquirer_id=None, psp_id=None), request)["pspId"] == "old-psp"


@pytest.mark.promise("P10")
@pytest.mark.parametrize("api", WITH_A_TOKEN, ids=lambda api: api.name)
def test_a_sealed_token_is_never_sent(api: Api) -> None:
    """A token that is still sealed stops the call before any byte."""
    with pytest.raises(CallImpossible, match="sealed"):
        api.fields(call(api.step), unbinding(access_token="sealed:abc"))


@pytest.mark.parametrize("api", EVERY_API, ids=lambda api: api.name)
def test_a_request_of_the_other_kind_makes_no_message(api: Api) -> None:
    """A rebinding revokes nothing, and an unbinding asks for no links."""
    other = request_of(Step.CONSULT if api.step is Step.OFFER else Step.OFFER)
    with pytest.raises(CallImpossible, match=r"needs a (rebinding request|request with an accessToken)"):
        api.fields(call(api.step), other)


def test_cancel_token_needs_both_ids() -> None:
    """Without pspId and acquirerId there is no message."""
    with pytest.raises(CallImpossible, match="pspId"):
        CANCEL_TOKEN.fields(call(psp_id=None), unbinding())


@pytest.mark.parametrize("api", [CONSULT_UNBINDING, CANCEL_TOKEN_ACQUIRER, AUTH_NOTIFY])
def test_a_message_that_names_the_auth_client_needs_it(api: Api) -> None:
    """Without authClientId there is no message, whatever let the request through."""
    request = unbinding().model_copy(update={"auth_client_id": None})
    with pytest.raises(CallImpossible, match="authClientId"):
        api.fields(call(api.step), request)
