from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.requests import ActivatedVia, Agreement, Initiator, MerchantAccount, UnbindingRequested
from contracts.states import Step
from worker.saga.plan import (
    EDITIONS,
    PROFILE_STEPS,
    Edition,
    PlanInvalid,
    Profile,
    ProfileName,
    plan_rebinding,
    plan_unbinding,
)

SECRET = "token-that-no-message-shows"
TOKEN: dict[str, Any] = {
    "access_token": SECRET,
    "auth_client_id": "client-1",
    "reference_merchant_id": "merchant-1",
}
IDS: dict[str, Any] = {"psp_id": "psp-1", "acquirer_id": "acquirer-1"}
BILLS: dict[str, Any] = {
    "agreement": Agreement(
        auth_merchant_id="auth-merchant-1",
        merchant_agreement_id="agreement-1",
        activated_via=ActivatedVia.BILLS_AND_UTILITIES,
    )
}
MERCHANTS: dict[str, Any] = {
    "agreement": BILLS["agreement"].model_copy(update={"activated_via": ActivatedVia.MERCHANT})
}
ACCOUNT: dict[str, Any] = {
    "merchant_account": MerchantAccount(
        merchant_tag="tag",
        merchant_account_id="m-1",
        sub_merchant_id="s-1",
        account_id="a-1",
        open_id="o-1",
        auth_site_user_id="u-1",
    )
}
CONSULT, TOKEN_STEP, AGREEMENT_STEP, MERCHANT_STEP, HUB_STEP, OFFER = Step
KINDS = {TOKEN_STEP: "token", AGREEMENT_STEP: "agreement", MERCHANT_STEP: "account"}


def request(initiator: Initiator = Initiator.WALLET, **fields: Any) -> UnbindingRequested:
    """Return a request with these fields."""
    return UnbindingRequested(
        binding_id="binding-1", initiator=initiator, requested_at=datetime.now(UTC), **fields
    )


def profile(name: ProfileName, **fields: Any) -> Profile:
    """Return a profile with all its steps configured."""
    return replace(Profile(steps=PROFILE_STEPS[name], edition=EDITIONS[name]), **fields)


P, I = ProfileName, Initiator  # noqa: E741  # a table of tests is read by columns


@pytest.mark.parametrize(
    ("name", "initiator", "fields", "steps"),
    [
        (P.PLATFORM, I.WALLET, TOKEN, (CONSULT, TOKEN_STEP)),
        (P.PLATFORM, I.WALLET, {**TOKEN, **IDS}, (CONSULT, TOKEN_STEP)),
        (P.PLATFORM, I.MERCHANT, TOKEN, (CONSULT, TOKEN_STEP)),
        (P.PLATFORM, I.MERCHANT, {**TOKEN, **IDS}, (TOKEN_STEP,)),
        (P.PLATFORM, I.WALLET, BILLS, (AGREEMENT_STEP,)),
        (P.PLATFORM, I.MERCHANT, MERCHANTS, (AGREEMENT_STEP,)),
        (P.PLATFORM, I.WALLET, ACCOUNT, (MERCHANT_STEP,)),
        (P.PLATFORM, I.WALLET, {**MERCHANTS, **ACCOUNT}, (MERCHANT_STEP,)),
        (
            P.PLATFORM,
            I.WALLET,
            {**TOKEN, **BILLS, **ACCOUNT},
            (CONSULT, TOKEN_STEP, AGREEMENT_STEP, MERCHANT_STEP),
        ),
        (P.WALLET, I.WALLET, TOKEN, (CONSULT, TOKEN_STEP, HUB_STEP)),
        (P.WALLET, I.MERCHANT, {**TOKEN, **IDS}, (TOKEN_STEP, HUB_STEP)),
        (P.ACQUIRER, I.MERCHANT, {**TOKEN, **IDS}, (TOKEN_STEP,)),
        (P.ALIPAYHK_MERCHANT, I.MERCHANT, MERCHANTS, (AGREEMENT_STEP,)),
        (P.ALIPAYHK_MERCHANT, I.WALLET, BILLS, (AGREEMENT_STEP,)),
        (P.ALIPAYHK_WALLET, I.WALLET, ACCOUNT, (MERCHANT_STEP,)),
        (P.ANTOM_MERCHANT, I.MERCHANT, TOKEN, (TOKEN_STEP,)),
    ],
)
def test_steps_of_a_request(
    name: ProfileName, initiator: Initiator, fields: dict[str, Any], steps: tuple[Step, ...]
) -> None:
    """A request gets the profile's steps for the targets that it names, in the order of the steps."""
    if name is P.ACQUIRER:
        assert (
            plan_unbinding(request(initiator, **TOKEN), profile(name, edition=Edition.ACQUIRER)).steps
            == steps
        )
    plan = plan_unbinding(request(initiator, **fields), profile(name))
    assert plan.steps == steps
    wanted = [KINDS[step] for step in steps if step in KINDS]
    assert [target.value for target in plan.targets] == wanted


def test_acquirer_edition_needs_no_ids() -> None:
    """The acquirer edition of cancelToken needs neither pspId nor acquirerId, also without a consult."""
    acquirer = profile(P.ACQUIRER, edition=Edition.ACQUIRER)
    assert plan_unbinding(request(I.MERCHANT, **TOKEN), acquirer).steps == (TOKEN_STEP,)


@pytest.mark.parametrize(
    ("name", "initiator", "fields", "named"),
    [
        (P.ACQUIRER, I.MERCHANT, BILLS, ["agreement", "cancel_agreement"]),
        (P.ACQUIRER, I.MERCHANT, {**TOKEN, **IDS, **ACCOUNT}, ["merchantAccount", "notify_merchant"]),
        (P.ALIPAYHK_WALLET, I.WALLET, TOKEN, ["accessToken", "cancel_token"]),
        (P.ALIPAYHK_WALLET, I.WALLET, BILLS, ["agreement"]),
        (P.PLATFORM, I.WALLET, MERCHANTS, ["agreement", "bills_and_utilities"]),
        (P.WALLET, I.WALLET, {**TOKEN, **BILLS}, ["agreement"]),
        (P.ANTOM_MERCHANT, I.WALLET, ACCOUNT, ["merchantAccount"]),
    ],
)
def test_target_that_no_step_ends_is_invalid(
    name: ProfileName, initiator: Initiator, fields: dict[str, Any], named: list[str]
) -> None:
    """A target that the profile cannot end makes the request invalid; the text names fields, no values."""
    with pytest.raises(PlanInvalid) as raised:
        plan_unbinding(request(initiator, **fields), profile(name))
    assert all(word in str(raised.value) for word in named)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "pspId and acquirerId"), ({"psp_id": "p"}, "acquirerId"), ({"acquirer_id": "a"}, "pspId")],
)
def test_ids_are_required_where_nothing_is_consulted(given: dict[str, Any], missing: str) -> None:
    """The wallet edition needs pspId and acquirerId of the request where no consult gives them."""
    silent = profile(P.WALLET, consult=False)
    with pytest.raises(PlanInvalid, match=f"^{missing} required"):
        plan_unbinding(request(**TOKEN, **given), silent)
    assert plan_unbinding(request(**TOKEN, **IDS), silent).steps == (TOKEN_STEP, HUB_STEP)


def test_wallets_that_are_not_consulted() -> None:
    """A wallet that unbinds without consulting gets no consult; the others do."""
    some = profile(P.PLATFORM, unconsulted_psps=frozenset({"psp-1"}))
    assert plan_unbinding(request(**TOKEN, **IDS), some).steps == (TOKEN_STEP,)
    other: dict[str, Any] = {"psp_id": "psp-2", "acquirer_id": "acquirer-1"}
    assert plan_unbinding(request(**TOKEN, **other), some).steps == (CONSULT, TOKEN_STEP)


def test_step_without_a_counterpart_is_not_taken() -> None:
    """A step that is not configured is in no plan: notify_hub is left out, a needed one is invalid."""
    short = profile(P.WALLET, steps=(CONSULT, TOKEN_STEP))
    assert plan_unbinding(request(**TOKEN), short).steps == (CONSULT, TOKEN_STEP)
    with pytest.raises(PlanInvalid, match="accessToken"):
        plan_unbinding(request(**TOKEN), profile(P.WALLET, steps=(CONSULT, HUB_STEP)))


@pytest.mark.parametrize("name", list(ProfileName))
def test_profiles_are_complete(name: ProfileName) -> None:
    """Each profile has steps in their order, and an edition; a rebinding is planned where it has `offer`."""
    steps = PROFILE_STEPS[name]
    assert list(steps) == [step for step in Step if step in steps]
    assert name in EDITIONS
    if OFFER in steps:
        assert plan_rebinding(profile(name)).steps == (OFFER,)
    else:
        with pytest.raises(PlanInvalid, match="offer"):
            plan_rebinding(profile(name))
