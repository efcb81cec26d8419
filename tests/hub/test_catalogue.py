from __future__ import annotations

import pytest

from contracts.states import Step
from worker.hub.apis.cancel_token import CANCEL_TOKEN
from worker.hub.apis.cancel_token_acquirer import CANCEL_TOKEN_ACQUIRER
from worker.hub.apis.revoke import REVOKE
from worker.hub.catalogue import EVERY_API, apis_of
from worker.saga.plan import EDITIONS, PROFILE_STEPS, Edition, ProfileName

BY_ENVELOPE = {Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT}
"""The steps of AlipayHK's APIs, which are signed in an envelope."""


@pytest.mark.parametrize(
    ("profile", "api"),
    [
        (ProfileName.PLATFORM, CANCEL_TOKEN),
        (ProfileName.WALLET, CANCEL_TOKEN),
        (ProfileName.ACQUIRER, CANCEL_TOKEN_ACQUIRER),
        (ProfileName.ANTOM_MERCHANT, REVOKE),
    ],
)
def test_a_profile_revokes_tokens_in_its_own_edition(profile: ProfileName, api: object) -> None:
    """Wallet, acquirer and merchant each speak the API that their side has."""
    assert apis_of(EDITIONS[profile])[Step.CANCEL_TOKEN] is api


@pytest.mark.parametrize("profile", ProfileName)
def test_each_step_signed_in_the_header_has_its_api(profile: ProfileName) -> None:
    """Whatever a profile may do at a header-signed API, the hub can speak, under the step's own name."""
    apis = apis_of(EDITIONS[profile])
    assert set(PROFILE_STEPS[profile]) - BY_ENVELOPE <= set(apis)
    assert all(api.step is step for step, api in apis.items())


def test_every_api_is_reached_by_an_edition() -> None:
    """The catalogue has no API that nobody could be given, and lists all that can be."""
    reached = {api.name for edition in Edition for api in apis_of(edition).values()}
    assert reached == {api.name for api in EVERY_API}
